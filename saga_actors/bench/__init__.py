"""The bench: how fast, how fair and how small a node is on this machine, beside a program that does without one.

`python -m saga_actors bench -o json` writes one document:

- `machine`: `cpus`, `python`, `saga_actors`, `thespian`, `sqlite`, `kernel`, `file_system`, `folder`, `syncs` (False
  where fsync costs nothing, as on a tmpfs).
- `settings`: what it was run with.
- `figures`: by name, each with `unit`, `value` (the median of `rounds`), `rounds` (one number each, in order) and
  `ratio`, which is None or has `of` (the name of the figure it is divided by), `value` (the median of `rounds`) and
  `rounds` (the quotient of each round).

The names of figures. CASE is `success`, `rollback` or `slow`; MODE is `one` (one at a time), `threads` (64 client
threads of one coordinator) or `all` (`start_many`, then all ends are awaited). A floor has no `threads`: it is
compared with the floor's `all` for what is done in a second, and with its `one` for latencies.

- `CASE.MODE.sagas_per_s`, and `CASE.MODE.p50_ms`, `.p95_ms`, `.p99_ms`: the latency of a saga, which for `all` goes
  from the call of `start_many` to the saga's end as its client knows it.
- `CASE.MODE.cpu_ms` per saga, the client's included, and of that `CASE.MODE.cpu_ms.ROLE`; ROLE is `client`,
  `supervisor`, `workers`, `telemetry`, `status`, `root` or `rest` (the watchdog, the life, and Thespian's own two).
- `floor.CASE.MODE.…`: the same of the floor program, for `one` and `all`.
- `disk.fdatasync_per_s` (4 kB appended each), `disk.commits_per_s` (one journal entry each), and
  `disk.group_commits_per_s` with `disk.grouped_entries_per_s` (50 entries a commit).
- `start_s`: from making a coordinator on a fresh journal to the outcome of its first saga. Beside it
  `floor.start_s`, a fresh interpreter that makes a journal and commits a saga to it.
- `status.p50_ms`, `status.p99_ms`: `status` while the first case's sagas run, all at once. Beside it `floor.status_ms`,
  the same saga's records read from the journal.
- `memory.idle_mb`, `memory.peak_mb` (all at once), `memory.unfinished_mb`: PSS of all of the node's processes.
- `recovery.N.first_s`, `.all_s`, `.status_s`: from SIGKILL of the supervisor with N sagas unfinished until the first
  and the last of them has another step event in the journal, and until `status` answers. As many as there are slots
  are in their first step then, and the others wait for one; so the last goes on when most have ended. Beside it
  `floor.recovery.N.all_s`, one process reading all their records.
- `journal.kb_per_saga`: the size of the loaded node's journal and of its log, over the sagas that are in it.
- `idle_cpu_percent`: of one core, of all of the node's processes, with one attached client that asks nothing.
"""
