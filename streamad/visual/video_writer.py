"""H264Writer: frames to an mp4 file that is whole or not there."""

from streamad.scene.video_writer import KEY_FRAME_SECONDS, H264Writer

__all__ = ["KEY_FRAME_SECONDS", "H264Writer"]
