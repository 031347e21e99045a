from tests.virtual_microphone import pipe_microphone, virtual_microphone

__all__ = ["pipe_microphone", "virtual_microphone"]
