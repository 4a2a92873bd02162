"""The background thread of a recording program: journals to the database, rules, delivery, upkeep."""
