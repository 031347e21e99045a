"""Audio in: a microphone in a child process, recordings and pipes, all as 16 kHz mono blocks."""
