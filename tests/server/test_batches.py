"""Commits come back in batches, and each connection goes on once for a whole batch."""

from doubles import DONE, HELP, HELP_REPLY, Log, Rig, put


def test_the_answers_to_a_batch_leave_in_one_write(rig: Rig) -> None:
    first, second = rig.connect(), rig.connect()
    first.send(put("a", b"1") + put("b", b"2") + HELP)
    second.send(put("c", b"3"))
    rig.factory.tell_of_commits(rig.store.waiting)
    assert first.writes == [DONE + DONE + HELP_REPLY]
    assert second.writes == [DONE]


def test_what_waited_for_a_batch_is_submitted_together(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(b"".join(put(f"name{count % 3}", b"1") for count in range(6)))
    batch = rig.store.waiting
    rig.store.submitted.clear()
    assert len(batch) == 3
    rig.factory.tell_of_commits(batch)
    assert [len(commits) for commits in rig.store.submitted] == [3]


def test_a_bug_in_one_answer_keeps_no_other_from_going_out(rig: Rig, log: Log) -> None:
    bad, good = rig.connect(), rig.connect()
    bad.send(put("a", b"1"))
    good.send(put("b", b"2"))
    batch = rig.store.waiting
    batch[0].done = lambda commit: 1 / 0
    rig.factory.tell_of_commits(batch)
    assert good.writes == [DONE]
    assert [type(failure) for failure in log.failures] == [ZeroDivisionError]


def test_a_bug_in_going_on_keeps_no_other_from_it(rig: Rig, log: Log) -> None:
    bad = rig.connect()
    (protocol,) = rig.factory.connections
    protocol.go_on = lambda: 1 / 0  # type: ignore[method-assign]
    good = rig.connect()
    bad.send(put("a", b"1"))
    good.send(put("b", b"2"))
    rig.factory.tell_of_commits(rig.store.waiting)
    assert good.writes == [DONE]
    assert [type(failure) for failure in log.failures] == [ZeroDivisionError]
