"""The server of the article that version 1 comes from, written from its description, in its own style.

It serves one connection at a time, reads whole files, sends head and body apart, and answers SUMMARY with bare text.

    python article.py PORT DIRECTORY
"""

import contextlib
import os
import socket
import struct
import sys

BUFFER = 4096


def receive(connection, count):
    octets = b""
    while len(octets) < count:
        more = connection.recv(count - len(octets))
        if not more:
            raise ConnectionError
        octets += more
    return octets


def put(connection, name):
    (size,) = struct.unpack("!I", receive(connection, 4))
    with open(name, "wb") as file:
        while size > 0:
            octets = connection.recv(min(BUFFER, size))
            if not octets:
                raise ConnectionError
            file.write(octets)
            size -= len(octets)
    connection.sendall(b"\x00")


def get(connection, name):
    with open(name, "rb") as file:
        octets = file.read()
    head = bytes([1 << 5 | len(name)]) + name.encode() + struct.pack("!I", len(octets))
    connection.sendall(head)
    connection.sendall(octets)


def summary(connection, name):
    with open(name) as file:
        numbers = [float(number) for number in file.read().split()]
    average = sum(numbers) / len(numbers)
    text = f"Max: {max(numbers)}\nMin: {min(numbers)}\nAvg: {average}\n"
    connection.sendall(text.encode())


def serve(connection):
    while True:
        (header,) = receive(connection, 1)
        name = receive(connection, header & 31).decode()
        code = header >> 5
        if code == 0:
            put(connection, name)
        elif code in (1, 3) and not os.path.isfile(name):
            connection.sendall(b"\x60")
        elif code == 1:
            get(connection, name)
        elif code == 3:
            summary(connection, name)
        else:
            connection.sendall(b"\x80")


def main():
    os.chdir(sys.argv[2])
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            serve(connection)


main()
