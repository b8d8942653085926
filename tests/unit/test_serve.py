"""How the agent listens."""

import socket

from entrypoints.serve import _listen


def test_no_part_of_an_answer_is_kept_back_until_another_is_acknowledged() -> None:
    with (
        _listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
