"""What this API answers: an accepted job, a job as it is, capabilities, errors."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sdenv.core.backend import BackendStatus
from sdenv.core.capabilities import Capabilities, SizeRule
from sdenv.core.errors import SdenvError
from sdenv.core.families import family_named
from sdenv.core.image import ImageData
from sdenv.core.job_record import JobRecord, JobState
from sdenv.core.request import Task
from sdenv.core.samplers import AUTOMATIC, LOCAL_SAMPLERS, LOCAL_SCHEDULES
from sdenv.protocols.inline import as_base64
from sdenv.protocols.sdcpp.output import FORMATS, Output, wire_id

KIND: Final = "img_gen"
_STATUSES: Final[Mapping[JobState, str]] = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "generating",
    JobState.DONE: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}
_SCHEDULE_WORDS: Final[Mapping[str, str]] = {AUTOMATIC: "discrete", "Align Your Steps": "ays"}


def accepted_record(
    job: JobRecord, output: Output, prefix: str, ignored: Sequence[str] = (), notices: Sequence[str] = ()
) -> dict[str, Any]:
    """The answer to an accepted request; `ignored` and `notices` are OURS, and there if not empty.

    Args:
        job: The job.
        output: The files that are wanted of it.
        prefix: Of the paths.
        ignored: Names of fields without effect.
        notices: What is changed, one sentence each.
    """
    told = wire_id(job.id, output)
    record: dict[str, Any] = {
        "id": told,
        "kind": KIND,
        "status": _STATUSES[job.state],
        "created": int(job.created_at),
        "poll_url": f"{prefix}/jobs/{told}",
    }
    return record | _if_any(ignored=ignored, notices=notices)


def job_record(job: JobRecord, output: Output, pictures: Sequence[ImageData] = ()) -> dict[str, Any]:
    """A job as it is now.

    UNVERIFIED: whether `queue_position` of the next job is 0 or 1; here it is how many run before it, and 0
    for a job that does not wait. OURS: `seed` of each picture, and `notices` where there are some.

    Args:
        job: The job.
        output: The files that are wanted of it.
        pictures: Of a completed job: the files, one for each of its pictures.
    """
    record: dict[str, Any] = {
        "id": wire_id(job.id, output),
        "kind": KIND,
        "status": _STATUSES[job.state],
        "created": int(job.created_at),
        "started": None if job.started_at is None else int(job.started_at),
        "completed": None if job.ended_at is None else int(job.ended_at),
        "queue_position": job.position or 0,
        "result": _result(job, output, pictures) if job.state is JobState.DONE else None,
        "error": _error(job),
    }
    return record | _if_any(notices=[each.message for each in job.notices])


def _result(job: JobRecord, output: Output, pictures: Sequence[ImageData]) -> dict[str, Any]:
    images = [
        {"index": each.index, "b64_json": as_base64(picture), "seed": each.seed}
        for each, picture in zip(job.pictures, pictures, strict=True)
    ]
    return {"output_format": output.output_format, "images": images}


def _error(job: JobRecord) -> dict[str, str] | None:
    if job.state is JobState.CANCELLED:
        return {"code": "cancelled", "message": str(job.error or "The job was cancelled.")}
    if job.state is not JobState.FAILED:
        return None
    if job.error is None:
        return {"code": "generation_failed", "message": "The job has failed."}
    return {"code": job.error.code, "message": str(job.error)}


def _if_any(**texts: Sequence[str]) -> dict[str, list[str]]:
    return {name: list(each) for name, each in texts.items() if each}


def error_body(error: SdenvError) -> dict[str, str]:
    """The body that says an error: `error` and `message` as the original has them; `code` is OURS."""
    return {"error": error.what, "message": str(error), "code": error.code}


# Capabilities


def sampler_word(name: str) -> str:
    """A sampler as stable-diffusion.cpp writes it: `DPM++ 2S a` is `dpm++2s_a`."""
    return name.casefold().replace("++ ", "++").replace(" ", "_")


def schedule_word(name: str) -> str:
    """A schedule as stable-diffusion.cpp writes it: the model's own is `discrete`."""
    return _SCHEDULE_WORDS.get(name) or name.casefold().replace(" ", "_")


def capabilities_record(status: BackendStatus, queue_size: int) -> dict[str, Any]:
    """What GET capabilities answers, of the default model. Paths are not told.

    Args:
        status: What the backend says of itself, within the limits of the server.
        queue_size: How many jobs may wait.
    """
    model = status.model(None)
    offered = status.capabilities_for(None)
    defaults, features, formats = _defaults(status), _features(offered), list(FORMATS)
    samplers = LOCAL_SAMPLERS if offered.samplers is None else offered.samplers
    schedules = LOCAL_SCHEDULES if offered.schedules is None else offered.schedules
    name = "" if model is None else model.name
    return {
        "model": {"name": name, "stem": name, "path": ""},
        "current_mode": KIND,
        "supported_modes": [KIND],
        "defaults": defaults,
        "defaults_by_mode": {KIND: defaults},
        "output_formats": formats,
        "output_formats_by_mode": {KIND: formats},
        "features": features,
        "features_by_mode": {KIND: features},
        "samplers": [sampler_word(each) for each in samplers],
        "schedulers": [schedule_word(each) for each in dict.fromkeys((AUTOMATIC, *schedules))],
        "loras": [],
        "upscalers": [{"name": "None"}, {"name": "Latent"}],
        "limits": {
            **_sizes(offered.size),
            "max_batch_count": offered.max_count,
            "max_queue_size": queue_size,
        },
    }


def _defaults(status: BackendStatus) -> dict[str, Any]:
    model = status.model(None)
    family = family_named("other" if model is None else model.family)
    width, height = (family.side_px, family.side_px) if model is None else model.default_size
    steps = None if model is None else model.steps
    guidance = None if model is None else model.guidance_scale
    return {
        "prompt": "",
        "negative_prompt": "",
        "clip_skip": -1,
        "width": width,
        "height": height,
        "strength": 0.75,
        "seed": -1,
        "batch_count": 1,
        "sample_params": {
            "scheduler": "discrete",
            "sample_method": sampler_word((model and model.sampler) or family.sampler),
            "sample_steps": family.steps if steps is None else steps,
            "guidance": {"txt_cfg": family.guidance_scale if guidance is None else guidance},
        },
        "output_format": "png",
        "output_compression": 100,
    }


def _features(offered: Capabilities) -> dict[str, bool]:
    return {
        "init_image": Task.IMAGE_TO_IMAGE in offered.tasks,
        "mask_image": Task.INPAINT in offered.tasks,
        "control_image": False,
        "ip_adapter_image": False,
        "ref_images": "references" in offered.carries,
        "lora": "loras" in offered.carries,
        "vae_tiling": False,
        "hires": "hires" in offered.carries,
        "cache": False,
        "cancel_queued": True,
        "cancel_generating": offered.cancel != "never",
    }


def _sizes(rule: SizeRule) -> dict[str, int]:
    widths = [width for width, _ in rule.native] or [rule.min_px, rule.max_px]
    heights = [height for _, height in rule.native] or [rule.min_px, rule.max_px]
    return {
        "min_width": min(widths),
        "max_width": max(widths),
        "min_height": min(heights),
        "max_height": max(heights),
    }
