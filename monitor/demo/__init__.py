"""The demonstration: a synthetic night that anybody may hear, through the real pipeline."""
