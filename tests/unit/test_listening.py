"""The socket that the agent serves."""

import socket

from entrypoints.serve import listen


def test_answers_do_not_wait_for_the_client_to_acknowledge_their_beginning() -> None:
    with (
        listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
