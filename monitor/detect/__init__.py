"""Audio to episodes: activity, log-mel, gate model, episode state machine, cause classifier."""
