"""The ring of packets: whole groups of pictures, in bounded memory."""

from __future__ import annotations

from streamad.sources.recording import _LAG_PACKETS, PacketRing, StoredPacket


def packet(number: int, *, gop: int = 25, size: int = 1000) -> StoredPacket:
    return StoredPacket(bytes(size), number, number, 1, number % gop == 0, number / 25)


def test_it_reaches_back_from_a_late_alert_to_the_key_frame_before() -> None:
    ring = PacketRing(keep_seconds=5.0, max_bytes=1 << 20)
    for number in range(10, 2000):
        ring.add(packet(number))
        found = ring.since((number - _LAG_PACKETS) / 25 - 5.0)
        if number > 400:
            assert found[0].is_key
            assert (number - _LAG_PACKETS) / 25 - 6.0 < found[0].at <= (number - _LAG_PACKETS) / 25 - 5.0
            assert [p.pts for p in found] == list(range(found[0].pts or 0, number + 1))
    assert len(ring) <= 5 * 25 + _LAG_PACKETS + 26


def test_its_memory_is_bounded_whatever_the_camera_sends() -> None:
    ring = PacketRing(keep_seconds=60.0, max_bytes=100_000)
    for number in range(3000):
        ring.add(packet(number, gop=25 if number < 1000 else 10_000))
        assert ring.bytes <= 100_000
        assert ring.bytes == 1000 * len(ring)
    assert ring.since(0.0) == [], "one group of pictures is larger than the ring"
    for number in range(10_000, 10_050):
        ring.add(packet(number))
    assert [p.pts for p in ring.since(0.0)] == list(range(10_000, 10_050))
