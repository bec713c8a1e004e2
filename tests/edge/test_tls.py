"""What a connection must bring: TLS 1.2 or 1.3, and what is agreed in it."""


def test_thin(edge, upstream):
    answer = edge.deliver()
    assert answer.status == 200, answer
    assert upstream.requests[0].all("x-real-ip") == ["127.0.0.1"]
    assert edge.post("/webhook", (), b"x").status == 401
    with edge.client2() as client:
        from harness.sign import default
        from harness.envoy import SECRET
        assert client.ask("/webhook", [("x-webhook-signature", default(SECRET, b"x")[0][1])], b"x")[0] == 200
    answer = edge.deliver(source="127.0.0.9", headers=[("x-real-ip", "1.2.3.4")])
    assert upstream.requests[-1].all("x-real-ip") == ["127.0.0.9"]
