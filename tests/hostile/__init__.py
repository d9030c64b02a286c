"""Attackers, real sockets, a real server: does anybody else notice?

    python -m tests.hostile [--seconds S] [--only NAME] [--json FILE]

    run       server, good players and one attacker at a time, each a process of its own; figures of each
    swarm     the good players' process: windows of what they saw
    attack    an attacker's process: makes itself ready, then sends at a stated rate
    udp, tcp, members    the attacks
    kit       what attackers are made of
    judge     when an attack has succeeded (pure)

The server runs with its usual limits, which hold for loopback, too (`limit_loopback`). The good players come from
127.0.0.1; attackers bind to other addresses of 127.0.0.0/8, one or many.
"""
