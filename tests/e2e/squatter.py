"""Somebody who wants a TUN device of ours: `python squatter.py HOW NAME UID`, alone with the standard library.

`once` tries to attach and says what came of it. `hold` attaches, says so, and prints what it reads, a packet a line,
until the device is taken from it. `loop` tries until it gets in or its standard input ends, and says how often either
happened. `spoil` attaches, sets everything that a device keeps and lets go.

/dev/net/tun is opened before it becomes UID: on some systems only root may open it, on most everybody.
"""

import errno
import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF, TUNSETOWNER, TUNSETGROUP, TUNSETOFFLOAD = (0x400454CA + each for each in (0, 2, 4, 6))
TUNSETSNDBUF, TUNSETVNETHDRSZ, TUNSETVNETBE = 0x400454D4, 0x400454D8, 0x400454DE
TUN, NO_PI, VNET_HDR = 0x0001, 0x1000, 0x4000


def attach(name: str, flags: int = TUN | NO_PI) -> int:
    device = spare.pop()
    try:
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    except OSError:
        spare.append(device)
        raise
    return device


def once(name: str) -> None:
    try:
        os.close(attach(name))
        print("attached", flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno or 0], flush=True)


def hold(name: str) -> None:
    device = attach(name)
    print("attached", flush=True)
    try:
        while True:
            print(os.read(device, 65535).hex(), flush=True)
    except OSError:
        print("gone", flush=True)


def loop(name: str) -> None:
    tries = 0
    print("ready", flush=True)
    while not select.select([0], [], [], 0)[0]:
        try:
            socket.if_nametoindex(name)
            attach(name)
            print("got in", flush=True)
            return
        except OSError as error:
            tries += error.errno in (errno.EBUSY, errno.EPERM)
    print("kept out of", tries, flush=True)


def spoil(name: str) -> None:
    device = attach(name, TUN | NO_PI | VNET_HDR)
    fcntl.ioctl(device, TUNSETOWNER, os.getuid())
    fcntl.ioctl(device, TUNSETGROUP, os.getgid())
    fcntl.ioctl(device, TUNSETOFFLOAD, 0x0F)
    for request, value in ((TUNSETSNDBUF, 1), (TUNSETVNETHDRSZ, 20), (TUNSETVNETBE, 1)):
        try:
            fcntl.ioctl(device, request, struct.pack("i", value))
        except OSError as error:
            assert request == TUNSETVNETBE and error.errno == errno.EINVAL  # not every Linux has it
    os.close(device)
    print("spoiled", flush=True)


how, device_name, user = sys.argv[1:]
spare = [os.open("/dev/net/tun", os.O_RDWR)]
if int(user):
    os.setgroups([])
    os.setgid(int(user))
    os.setuid(int(user))
{"once": once, "hold": hold, "loop": loop, "spoil": spoil}[how](device_name)
