"""Jobs: how far they are, and cancelling them."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from crosslens.server.access import looking, writing
from crosslens.server.problems import Problem, responses
from crosslens.server.schemas import Job
from crosslens.server.service import Service, service_of
from crosslens.server.uploaded import Addition
from crosslens.support.errors import StoreError

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
JobId = Annotated[str, Path(alias="id", min_length=1, max_length=64, description="Id of a job.")]


@router.get("", summary="All jobs", dependencies=[Depends(looking)], responses=responses(401, 429, 503))
async def jobs(request: Request) -> list[Job]:
    """Jobs of all collections, newest first; of those that ended, the newest 200 of each collection."""
    service = service_of(request)
    jobs = [job for table in service.tables.values() for job in await service.thread(table.all)]
    return sorted(jobs, key=lambda job: -job.created)


@router.get(
    "/{id}", summary="One job", dependencies=[Depends(looking)], responses=responses(401, 404, 422, 429, 503)
)
async def job(request: Request, job_id: JobId) -> Job:
    """State and progress of one job."""
    return await service_of(request).thread(_find, service_of(request), job_id)


@router.delete(
    "/{id}",
    summary="Cancel a job",
    dependencies=[Depends(writing)],
    responses=responses(401, 403, 404, 409, 422, 429, 503),
)
async def cancel(request: Request, job_id: JobId) -> Job:
    """Cancel a job: one that waits at once, one that runs after the batch at hand. What was added stays."""
    return await service_of(request).thread(_cancel, service_of(request), job_id)


def _find(service: Service, job_id: str) -> Job:
    for table in service.tables.values():
        job = table.get(job_id)
        if job is not None:
            return job
    raise Problem(404, "there is no such job; old ones are forgotten")


def _cancel(service: Service, job_id: str) -> Job:
    job = _find(service, job_id)
    table = service.tables[job.collection]
    if not table.cancel(job_id):
        raise Problem(409, f"the job is over: {job.state}")
    after = _find(service, job_id)
    if after.state == "cancelled" and after.kind == "add":
        index = service.collections[job.collection].index
        # Files that stay only take room; the job is cancelled all the same.
        with suppress(StoreError):
            service.uploads[job.collection].forget(index, table, Addition.of(table.work(job_id)).files, job_id)
    return after
