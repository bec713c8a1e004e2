"""What the tests are made of: a real Envoy, upstreams that keep what they get, and clients of bytes."""
