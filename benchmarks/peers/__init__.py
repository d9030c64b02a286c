"""Side by side: the same workload on Holdfast and on what else one would take. `python -m benchmarks.peers --help`

    __main__  the command: install, run all in turn, write table and JSON
      ├── install   what the peers need, into .peers/ (locks: package-lock.json, requirements.txt)
      ├── matches   which peers there are, and one run of one of them: server on one core, generator on another
      │     └── swarm     the generator for all who speak WebSocket, a process of its own
      │           └── dialects   what each of them says on it (pure)
      │                 └── wire     WebSocket frames and Colyseus' state (pure)
      ├── search    the rule, and the search for how many players keep it (pure)
      └── table     medians, spread, markdown (pure)
    servers/        the peers themselves: our own code on each, small and as their authors advise

The workload: rooms of ten, 20 ticks a second; every player sends one input a tick and gets one frame a tick in which
ten players have moved.
"""
