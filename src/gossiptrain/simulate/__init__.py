"""The laboratory: many virtual peers in one process, trained as one, who meet as real peers do.

    learn.py         the way in: one run from settings to result     learn_settings.py, resolving.py, results.py
    sources.py       training data of all peers in memory            split.py: who sees what
    stack.py         the parameters of all peers                     virtual_peers.py: how they take inner steps
    gradients.py     all peers' gradients at once                    perceptron.py: the fast way of plain networks
    rounds.py        who meets in a round, and what comes of it      counters.py: counts; meeting.py: one group
    scores.py        the merged model, and every peer's own          comparison.py, picture.py: several runs together

Strategy, grouping, codec and guard are those of `core/`, and the arithmetic of a round is that of `swarm/`.
"""
