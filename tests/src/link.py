"""The link between two network namespaces: `link.py ONE OTHER`.

Makes a TUN device `link` in each, says "ready", and carries IP packets between them. Each line of stdin says how from then on:
`LOSS-PERCENT DELAY-MS RESETS-PERMILLE CUT`.
"""

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
TCP = 6
RST_ACK = 0x14
PACKETS_MAX = 20_000


def tun(namespace):
    """A device in that namespace; it goes when this process does."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    other = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    for space, then in ((other, True), (own, False)):
        if libc.setns(space, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        if then:
            device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"link", IFF_TUN | IFF_NO_PI))
    return device


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def reset(packet):
    """The packet as a reset of its connection; None if it has none."""
    if packet[0] >> 4 != 4 or packet[9] != TCP:
        return None
    length = (packet[0] & 0xF) * 4
    head, segment = bytearray(packet[:length]), bytearray(packet[length : length + 20])
    if segment[13] & 0x06:  # It opens or ends the connection already.
        return None
    struct.pack_into(">H", head, 2, length + 20)
    struct.pack_into(">H", head, 10, 0)
    struct.pack_into(">H", head, 10, checksum(bytes(head)))
    segment[12], segment[13] = 5 << 4, RST_ACK
    struct.pack_into(">HHH", segment, 14, 0, 0, 0)
    pseudo = bytes(head[12:20]) + struct.pack(">BBH", 0, TCP, 20)
    struct.pack_into(">H", segment, 16, checksum(pseudo + bytes(segment)))
    return bytes(head + segment)


def carry(devices):
    loss = delay = resets = 0.0
    cut = False
    waiting, number = [], 0
    while True:
        now = time.monotonic()
        timeout = max(0.0, waiting[0][0] - now) if waiting else None
        ready, _, _ = select.select([0, *devices], [], [], timeout)
        if 0 in ready:
            line = os.read(0, 4096)
            if not line:
                return
            fields = line.decode().strip().splitlines()[-1].split()
            loss, delay, resets = int(fields[0]) / 100, int(fields[1]) / 1000, int(fields[2]) / 1000
            cut = fields[3] == "1"
        for device in ready:
            if device == 0:
                continue
            to = devices[1] if device == devices[0] else devices[0]
            for _ in range(64):
                try:
                    packet = os.read(device, 65_536)
                except BlockingIOError:
                    break
                if cut or random.random() < loss or len(waiting) >= PACKETS_MAX:
                    continue
                if random.random() < resets:
                    packet = reset(packet) or packet
                number += 1
                due = time.monotonic() + delay * (1 + random.random())
                heapq.heappush(waiting, (due, number, to, packet))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, to, packet = heapq.heappop(waiting)
            try:
                os.write(to, packet)
            except OSError:
                pass  # The device is not up yet, or its queue is full: lost, as packets are.


def main():
    try:
        devices = [tun(namespace) for namespace in sys.argv[1:3]]
    except OSError as error:
        print(error, flush=True)
        return
    print("ready", flush=True)
    carry(devices)


main()
