"""The plug-in's side of Fuseline's protocol, version 1: copy this file into a plug-in of your own.

A line of JSON comes in, a line of JSON goes out; then a frame goes out for every frame that comes in, until the input
ends. A frame is four letters, a length (unsigned, 64 bits, little-endian) and that many bytes: ROWS holds an Arrow IPC
stream, FAIL a message.
"""

import json
import struct
import sys

import pyarrow as pa

VERSION = 1
HEAD = struct.Struct("<4sQ")


class Refused(Exception):
    """Raise it to fail the node with a message of your own and no traceback."""


def serve(start):
    """Answers until the input ends.

    `start` is given the greeting (`options`, `reads`, `writes`) and gives a function from a `pyarrow.Table` of the
    read columns to one of the written columns, one row for each.
    """
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    # Standard output belongs to the protocol; what anybody prints goes where it does no harm.
    sys.stdout = sys.stderr
    try:
        greeting = json.loads(source.readline())
        if greeting["fuseline_plugin"] != VERSION:
            raise Refused(f"this plug-in speaks version {VERSION} of the protocol")
        function = start(greeting)
        sink.write(b'{"fuseline_plugin": %d}\n' % VERSION)
        sink.flush()
        while head := source.read(HEAD.size):
            _, length = HEAD.unpack(head)
            rows = pa.ipc.open_stream(source.read(length)).read_all()
            answer = function(rows)
            stream = pa.BufferOutputStream()
            with pa.ipc.new_stream(stream, answer.schema) as writer:
                writer.write_table(answer)
            _send(sink, b"ROWS", stream.getvalue())
    except Refused as refusal:
        _send(sink, b"FAIL", str(refusal).encode())


def _send(sink, letters, content):
    sink.write(HEAD.pack(letters, len(content)))
    sink.write(content)
    sink.flush()
