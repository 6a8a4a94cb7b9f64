"""Ids as they are typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ulid import ULID

from sdenv.cli.jobids import every_job, find_job, read_ids
from sdenv.core.errors import SdenvError, UnknownJob, UsageError
from sdenv.core.job_record import JobRecord, JobState
from sdenv.services.jobs import JobPage, JobQuery
from tests.cli.support import streams

IDS = [
    "01M7XC2ZW3SMZRRZWHHGTKBCR6",
    "01M7XC2ZTJ5EKDA1ZCVQ6137HY",
    "01M7XC28Q33FCN5AEJ1MVWT1GT",
    "01M7XC28P4T5329TF4HQ6YFMRR",
]
JOBS = [JobRecord(each, JobState.DONE, {"prompt": each}, created_at=0.0) for each in IDS]


def find(query: JobQuery) -> JobPage:
    """As the real ones do it."""
    after = 0 if query.before is None else IDS.index(query.before) + 1
    fitting = [
        job
        for job in JOBS[after:]
        if job.id.startswith(query.id_part) or (query.id_part and job.id.endswith(query.id_part))
    ]
    page = tuple(fitting[: query.limit])
    return JobPage(page, page[-1].id if len(fitting) > query.limit else None)


def get(job_id: str) -> JobRecord:
    if job_id not in IDS:
        raise UnknownJob(f"There is no job {job_id!r}.")
    return JOBS[IDS.index(job_id)]


@pytest.mark.parametrize(
    "word",
    [
        IDS[2],
        IDS[2].lower(),
        "01M7XC28Q",
        "oIm7xc28q",
        "MVWT1GT",
        "mvwtlgt",
        "GT",
        str(ULID.from_str(IDS[2]).to_uuid()),
    ],
)
def test_a_job_has_many_names(word: str) -> None:
    assert find_job(word, find, get).id == IDS[2]


def test_last_is_the_newest() -> None:
    assert find_job("last", find, get).id == IDS[0]
    with pytest.raises(UnknownJob, match="no job yet"):
        find_job("last", lambda query: JobPage(()), get)


@pytest.mark.parametrize(
    "word", ["", "cat?", "../../etc", "01M7XC28ZZ", "U", "x" * 27, IDS[0][:-1] + "Z", "a-b"]
)
def test_a_name_that_no_job_has_is_an_error(word: str) -> None:
    with pytest.raises(UnknownJob, match="There is no job"):
        find_job(word, find, get)


def test_a_name_that_several_jobs_have_is_an_error_that_shows_two() -> None:
    with pytest.raises(UsageError, match="Several jobs") as caught:
        find_job("01M7XC28", find, get)
    assert IDS[2] in caught.value.why
    assert IDS[3] in caught.value.why


@given(st.text(max_size=40))
def test_any_word_is_a_job_or_an_error_of_ours(word: str) -> None:
    try:
        found = find_job(word, find, get)
    except SdenvError:
        return
    assert found in JOBS


def test_all_pages_are_read_one_after_another_and_no_more_than_are_wanted() -> None:
    asked: list[JobQuery] = []

    def paged(query: JobQuery) -> JobPage:
        asked.append(query)
        return find(JobQuery(before=query.before, limit=min(2, query.limit)))

    assert [job.id for job in every_job(paged, JobQuery())] == IDS
    assert [query.before for query in asked] == [None, IDS[1]]
    asked.clear()
    assert [job.id for job in every_job(paged, JobQuery(), limit=2)] == IDS[:2]
    assert len(asked) == 1


def test_ids_come_from_stdin_and_none_comes_twice() -> None:
    with streams(b"one\n two three\n\none\n", tty=False):
        assert read_ids(["zero", "-", "two"]) == ["zero", "one", "two", "three"]
