"""Records as a run reads them: streamed from shards, skipped when corrupt, encoded once."""
