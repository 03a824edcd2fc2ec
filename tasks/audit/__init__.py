"""The history for outsiders: sealed, published, exported, sampled, replayed."""
