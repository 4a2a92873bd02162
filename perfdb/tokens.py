"""What calls of language models are said to have used, under one set of names.

OpenTelemetry's names have changed, and OpenInference and OpenLLMetry have their own. A table maps all of
them; the first name that is there wins.
"""

from __future__ import annotations

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Semantic conventions 1.30 to 1.38, OpenInference 0.1, OpenLLMetry 0.x
TABLE = {
    "model": ("gen_ai.response.model", "gen_ai.request.model", "llm.model_name", "embedding.model_name",
              "llm.response.model", "llm.request.model"),
    "provider": ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "llm.vendor"),
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt",
                     "llm.usage.prompt_tokens"),
    "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens",
                      "llm.token_count.completion", "llm.usage.completion_tokens"),
    "total_tokens": ("gen_ai.usage.total_tokens", "llm.token_count.total", "llm.usage.total_tokens"),
    "cached_tokens": ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens",
                      "llm.token_count.prompt_details.cache_read", "llm.usage.cache_read_input_tokens"),
    "cache_write_tokens": ("gen_ai.usage.cache_creation.input_tokens",
                           "gen_ai.usage.cache_creation_input_tokens",
                           "llm.token_count.prompt_details.cache_write",
                           "llm.usage.cache_creation_input_tokens"),
    "reasoning_tokens": ("gen_ai.usage.reasoning_tokens", "gen_ai.usage.reasoning.output_tokens",
                         "llm.token_count.completion_details.reasoning"),
    "cost_usd": ("gen_ai.usage.cost", "llm.cost.total", "llm.usage.cost"),
}  # fmt: skip
OF_NO_COUNT = ("model", "provider")
NAMES = frozenset(name for names in TABLE.values() for name in names)


def used_by(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return model, provider, tokens and cost that a span's attributes say."""
    found: dict[str, Any] = {}
    if NAMES.isdisjoint(attributes):
        return found
    for ours, theirs in TABLE.items():
        for name in theirs:
            value = attributes.get(name)
            if value is not None:
                found[ours] = value
                break
    return found
