"""ipsecd's two sockets under good, slow, silent and hostile clients."""

import os
import random
import stat
import struct

import pytest

from ipsectools.daemon import client, control_server, frames, pfkey_server
from ipsectools.errno import EINVAL, EIO, ENOENT

from .fake import DUMP, FAILS, REFUSED, TO_ALL, message

OTHER = 7  # a message type that the fake kernel answers to the sender alone
HELLO = client.HELLO + bytes([client.ACKNOWLEDGE])
ACKNOWLEDGED = bytes(4)


def ask(connection, value):
    connection.sendall(frames.pack(value))
    return read_answer(connection)


def read_answer(connection):
    def exactly(length):
        data = b""
        while len(data) < length:
            part = connection.recv(length - len(data))
            assert part, "connection closed"
            data += part
        return data

    return frames.unpack(exactly(int.from_bytes(exactly(4), "big")))


def is_closed(connection) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_the_sockets_are_the_owners_alone(served):
    for name in ("control", "pfkey"):
        mode = os.stat(f"{served.directory}/{name}").st_mode
        assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


def test_who_has_gone_before_it_was_let_in_is_gone(served):
    for name in ("control", "pfkey"):
        for _ in range(200):
            served.connect(name).close()
    last_control, last_pfkey = served.connect("control"), served.connect("pfkey")
    assert ask(last_control, {"op": "ECHO"}) == {"value": {}}
    last_pfkey.send(message(OTHER))
    assert last_pfkey.recv(100) == message(OTHER)
    assert (len(served.control.clients), len(served.pfkey.clients), len(served.kernel.sockets)) == (1, 1, 1)


# control


def test_requests_are_answered_in_order(served):
    connection = served.connect("control")
    connection.sendall(b"".join(frames.pack({"op": "ECHO", "args": {"n": n}}) for n in range(500)))
    assert [read_answer(connection) for _ in range(500)] == [{"value": {"n": n}} for n in range(500)]


def test_a_request_may_come_byte_by_byte(served):
    connection = served.connect("control")
    for byte in frames.pack({"op": "ECHO", "args": {"a": [1, None, "ü"]}}):
        connection.sendall(bytes([byte]))
    assert read_answer(connection) == {"value": {"a": [1, None, "ü"]}}


def test_what_the_kernel_refuses(served):
    connection = served.connect("control")
    assert ask(connection, {"op": "OTHER"}) == {"errno": ENOENT, "detail": "no such op"}
    assert ask(connection, {"op": "ECHO", "args": {}}) == {"value": {}}


def test_a_mistake_of_ours_is_an_io_error_and_says_nothing(served):
    connection = served.connect("control")
    assert ask(connection, {"op": "FAILS"}) == {"errno": EIO, "detail": ""}
    assert ask(connection, {"op": "ECHO"}) == {"value": {}}
    assert [type(failure) for failure in served.failures] == [ZeroDivisionError]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"3", b'{"op":3}', b'{"op":"ECHO","args":[]}', b"\xff\xfe", b"[" * 9999]
)
def test_nonsense_is_einval(served, body):
    connection = served.connect("control")
    connection.sendall(len(body).to_bytes(4, "big") + body)
    assert read_answer(connection) == {"errno": EINVAL, "detail": ""}
    assert ask(connection, {"op": "ECHO"}) == {"value": {}}


def test_an_endless_frame_ends_the_connection(served):
    connection = served.connect("control")
    connection.sendall((control_server.LARGEST_REQUEST + 1).to_bytes(4, "big"))
    assert is_closed(connection)


def test_who_does_not_read_does_not_hold_up_others_and_is_not_read(served):
    deaf = served.connect("control")
    deaf.setblocking(False)
    request = frames.pack({"op": "MUCH", "args": {"bytes": 1_000_000}})
    sent = 0
    try:
        for _ in range(100_000):
            sent += deaf.send(request * 100)
    except BlockingIOError:
        pass
    assert sent < 3_000_000  # the socket's buffers, and then no more
    other = served.connect("control")
    for _ in range(20):
        assert ask(other, {"op": "ECHO"}) == {"value": {}}


def test_silent_clients_make_room_for_new_ones(served):
    silent = [served.connect("control") for _ in range(control_server.MOST_CLIENTS + 20)]
    assert ask(served.connect("control"), {"op": "ECHO"}) == {"value": {}}
    assert is_closed(silent[0])
    assert len(served.control.clients) <= control_server.MOST_CLIENTS


def test_random_bytes(served):
    dice = random.Random(4)
    for _ in range(200):
        connection = served.connect("control")
        connection.sendall(dice.randbytes(dice.randrange(1, 300)))
        connection.close()
    assert ask(served.connect("control"), {"op": "ECHO"}) == {"value": {}}
    assert served.failures == []


# pfkey


def test_one_message_a_packet_and_nothing_else(served):
    connection = served.connect("pfkey")
    connection.send(message(OTHER, b"hello"))
    assert connection.recv(100) == message(OTHER, b"hello")
    connection.send(message(REFUSED))
    connection.send(message(OTHER, b"again"))
    assert connection.recv(100) == message(OTHER, b"again")


def test_acknowledgements_follow_the_replies(served):
    connection = served.connect("pfkey")
    connection.send(HELLO)
    connection.send(message(OTHER))
    assert [connection.recv(100), connection.recv(100)] == [message(OTHER), ACKNOWLEDGED]
    connection.send(message(REFUSED))
    assert connection.recv(100) == struct.pack("=I", EINVAL)
    connection.send(b"x")
    assert connection.recv(100) == struct.pack("=I", EINVAL)


def test_a_hello_is_one_only_at_the_start(served):
    connection = served.connect("pfkey")
    connection.send(HELLO)
    connection.send(HELLO)  # a message now, if a strange one; the fake kernel answers all of them
    assert [connection.recv(100), connection.recv(100)] == [HELLO, ACKNOWLEDGED]


def test_a_linux_client_gets_linux_numbers(served):
    connection = served.connect("pfkey")
    connection.send(client.HELLO + bytes([client.ACKNOWLEDGE | client.LINUX_DIALECT]))
    connection.send(message(REFUSED))
    assert connection.recv(100) == struct.pack("=I", 22)


def test_what_one_does_the_others_hear(served):
    listeners = [served.connect("pfkey") for _ in range(5)]
    for each in listeners:
        each.send(message(OTHER))
        each.recv(100)
    listeners[2].send(message(TO_ALL, b"news"))
    assert [each.recv(100) for each in listeners] == [message(TO_ALL, b"news")] * 5


def test_a_full_buffer_loses_messages_of_that_receiver_only(served):
    deaf = served.connect("pfkey")
    deaf.send(client.HELLO + bytes([client.RECEIVE_BUFFER]) + (8192).to_bytes(4, "little"))
    assert deaf.recv(4) == ACKNOWLEDGED
    talker = served.connect("pfkey")
    talker.send(HELLO)
    count = 6000
    for _ in range(count):
        talker.send(message(TO_ALL))
        assert talker.recv(100) == message(TO_ALL)
        assert talker.recv(100) == ACKNOWLEDGED
    lost = served.kernel.sockets[0].lost
    assert 0 < lost < count
    for _ in range(count - lost):
        assert deaf.recv(100) == message(TO_ALL)
    talker.send(message(TO_ALL, b"after"))
    assert deaf.recv(100) == message(TO_ALL, b"after")


def test_a_dump_loses_nothing_however_slowly_it_is_read(served):
    served.kernel.dump = [message(DUMP, str(n).encode()) for n in range(50_000)]
    slow = served.connect("pfkey")
    slow.send(client.HELLO + bytes([client.RECEIVE_BUFFER | client.ACKNOWLEDGE]) + (8192).to_bytes(4, "little"))
    assert slow.recv(4) == ACKNOWLEDGED
    slow.send(message(DUMP))
    other = served.connect("pfkey")
    other.send(message(OTHER))
    assert other.recv(100) == message(OTHER)
    assert [slow.recv(100) for _ in range(50_000)] == served.kernel.dump
    assert slow.recv(100) == ACKNOWLEDGED
    assert served.kernel.sockets[0].lost == 0


def test_a_dump_is_made_as_it_is_read(served):
    served.kernel.dump = [message(DUMP, str(n).encode()) for n in range(30_000)]
    slow = served.connect("pfkey")
    slow.send(message(DUMP))
    other = served.connect("pfkey")
    for _ in range(20):
        other.send(message(OTHER))
        assert other.recv(100) == message(OTHER)
    assert 0 < served.kernel.sockets[0].drawn < 15_000
    other.send(message(TO_ALL))  # comes to the slow one behind the dump
    assert other.recv(100) == message(TO_ALL)
    assert [slow.recv(100) for _ in range(30_000)] == served.kernel.dump
    assert slow.recv(100) == message(TO_ALL)
    slow.send(message(OTHER))
    assert slow.recv(100) == message(OTHER)


def test_a_linux_client_gets_the_acknowledgement_before_a_long_dump_and_after_a_short_one(served):
    connection = served.connect("pfkey")
    connection.send(client.HELLO + bytes([client.ACKNOWLEDGE | client.LINUX_DIALECT]))
    for count in (10, 10_000):
        served.kernel.dump = [message(DUMP)] * count
        connection.send(message(DUMP))
        got = [connection.recv(100) for _ in range(count + 1)]
        assert got.index(ACKNOWLEDGED) == (count if count == 10 else 0)
        assert got.count(message(DUMP)) == count


def test_who_leaves_in_the_middle_of_a_dump_disturbs_nobody(served):
    served.kernel.dump = [message(DUMP)] * 30_000
    for _ in range(20):
        leaving = served.connect("pfkey")
        leaving.send(message(DUMP))
        leaving.recv(100)
        leaving.close()
    other = served.connect("pfkey")
    other.send(message(OTHER))
    assert other.recv(100) == message(OTHER)
    assert len(served.kernel.sockets) == 1 and not served.failures


def test_who_does_not_read_its_dumps_is_not_read(served):
    served.kernel.dump = [message(DUMP)] * 20_000
    deaf = served.connect("pfkey")
    deaf.setblocking(False)
    sent = 0
    try:
        for _ in range(100_000):
            deaf.send(message(DUMP))
            sent += 1
    except BlockingIOError:
        pass
    assert sent < 5000
    other = served.connect("pfkey")
    for _ in range(20):
        other.send(message(OTHER))
        assert other.recv(100) == message(OTHER)


def test_too_many_clients_are_turned_away_and_nobody_is_thrown_out(served):
    first = served.connect("pfkey")
    crowd = [served.connect("pfkey") for _ in range(pfkey_server.MOST_CLIENTS - 1)]
    crowd[-1].send(message(OTHER))
    assert crowd[-1].recv(100) == message(OTHER)
    assert is_closed(served.connect("pfkey"))
    first.send(message(OTHER))
    assert first.recv(100) == message(OTHER)


def test_random_packets(served):
    dice = random.Random(5)
    connection = served.connect("pfkey")
    connection.setblocking(False)
    for _ in range(500):
        try:
            connection.send(dice.randbytes(dice.randrange(1, 5000)))
            connection.recv(70_000)
        except (BlockingIOError, ConnectionError):
            pass
    other = served.connect("pfkey")
    other.send(message(OTHER))
    assert other.recv(100) == message(OTHER)


def test_a_mistake_of_ours_is_an_io_error_on_the_write(served):
    connection = served.connect("pfkey")
    connection.send(HELLO)
    connection.send(message(FAILS))
    assert connection.recv(100) == struct.pack("=I", EIO)
    connection.send(message(OTHER))
    assert connection.recv(100) == message(OTHER)


def test_closing_closes_the_kernels_socket(served):
    connection = served.connect("pfkey")
    connection.send(message(OTHER))
    connection.recv(100)
    assert len(served.kernel.sockets) == 1
    connection.close()
    other = served.connect("pfkey")
    other.send(message(OTHER))
    other.recv(100)
    assert len(served.kernel.sockets) == 1


def test_another_user_is_refused(served, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    os.chmod(tmp_path, 0o755)
    for name in ("control", "pfkey"):
        os.chmod(f"{served.directory}/{name}", 0o666)  # as if somebody had opened the door
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.chdir(tmp_path)  # whose parents nobody else may enter
                os.setgid(65534)
                os.setuid(65534)
                connection = served.connect(name, ".")
                if name == "control":
                    connection.sendall(frames.pack({"op": "ECHO"}))
                else:
                    connection.send(message(OTHER))
                status = 0 if is_closed(connection) else 2
            except (ConnectionResetError, BrokenPipeError):
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ask(served.connect("control"), {"op": "ECHO"}) == {"value": {}}
