"""A fleet's history: Delta tables that many hosts push to, and the engine that answers over them."""
