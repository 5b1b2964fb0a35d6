"""`gossip doctor`: what on this computer, on the network or at another peer keeps a peer from taking part.

    finding.py        what was found: a verdict, and in words what, why and what to do
    examination.py    all checks at once, whatever hangs; what is asked of them
    installation.py   Python, packages, libp2p's daemon
    accelerator.py    torch and the GPU; torch_probe.py asks torch
    computer.py       memory and clock
    storage.py        disk, run folder, identity
    data_sets.py      the data of the tasks
    ports.py          where a peer will listen
    routes.py         ways out, IPv6
    routers.py        what stands on them and translates addresses
    names.py          DNS
    firewall.py       what of a firewall can be seen
    road.py           to another peer, as far as sockets go
    acquaintance.py   what another peer is asked, and what it sees of this computer; answers.py says what that means
    blocking.py       functions that may hang

Changes nothing that outlives it. Knows no command line.
"""
