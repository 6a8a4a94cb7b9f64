"""Whether a backend can do a request, and what to say if not: all that is decided before a job exists."""

from typing import Final

from sdenv.backends import BACKENDS
from sdenv.core.backend import BackendStatus
from sdenv.core.capabilities import Capabilities, Mismatch, mismatches, refusal
from sdenv.core.degrade import Degraded, degrade
from sdenv.core.errors import SdenvError, UnknownModel, UnsupportedError
from sdenv.core.request import GenerationRequest
from sdenv.core.samplers import with_public_names
from sdenv.services.choose import is_installed

TEST_PICTURES_ONLY: Final = frozenset({"fake"})
"""Never offered instead: it can do nearly everything, and nobody who asks for a picture wants that one."""


def in_its_words(request: GenerationRequest, status: BackendStatus) -> GenerationRequest:
    """The request with its sampler under the public name: "euler_a" is "Euler a".

    A name that the backend itself lists stays as it is.
    """
    if request.sampler not in (status.capabilities.samplers or ()):
        return with_public_names(request)
    others = with_public_names(request.model_copy(update={"sampler": None}))
    return others.model_copy(update={"sampler": request.sampler})


def mismatches_with(request: GenerationRequest, status: BackendStatus) -> tuple[Mismatch, ...]:
    """Everything in the request that the backend cannot do, a model that it does not have included."""
    request = in_its_words(request, status)
    try:
        status.model(request.model)
    except UnknownModel as error:
        unknown = Mismatch("model", repr(request.model), f"unknown here. {error.why}", UnknownModel)
        return (unknown, *mismatches(request, status.capabilities))
    return mismatches(request, status.capabilities_for(request.model))


def admit(request: GenerationRequest, status: BackendStatus, name: str, allow_degraded: bool) -> Degraded:
    """The request as it will be made.

    Args:
        request: What was asked for.
        status: What the backend says of itself.
        name: What the user calls the backend.
        allow_degraded: Leave out what is optional and cannot be done.

    Raises:
        UnsupportedError: Something in it cannot be done; another error where that is the whole reason
            (UnknownModel, UnknownSampler, SizeNotPossible, DoesNotFit).
    """
    request = in_its_words(request, status)
    found = mismatches_with(request, status)
    plan = Degraded(request)
    if found and allow_degraded:
        plan = degrade(request, found, _capabilities(request, status).size)
        found = mismatches_with(plan.request, status)
        if found:  # without a model that is unknown here, the rules of the default one count
            plan = _then(plan, degrade(plan.request, found, _capabilities(plan.request, status).size))
            found = mismatches_with(plan.request, status)
    if not found:
        return plan
    error = refusal(found, name)
    if isinstance(error, UnsupportedError):
        error = refusal(found, name, backends_able_to(request, status.name))
    raise error


def _then(first: Degraded, second: Degraded) -> Degraded:
    """What two rounds of leaving out come to; the size to fit is the one that was asked for."""
    return Degraded(second.request, (*first.notices, *second.notices), first.fit_to or second.fit_to)


def _capabilities(request: GenerationRequest, status: BackendStatus) -> Capabilities:
    """Those for the model of the request, or for the default one where there is no such model."""
    try:
        return status.capabilities_for(request.model)
    except UnknownModel:
        return status.capabilities_for(None)


def backends_able_to(request: GenerationRequest, other_than: str) -> tuple[str, ...]:
    """Names of built-in backends whose class declares that it can do all of the request.

    What is declared is known without a connection, so this is a possibility and not a promise. Backends of
    other packages are not loaded for the sake of an error text; those whose extra is missing are left out.

    Args:
        request: What was refused.
        other_than: Name of the backend that refused it.
    """
    left_out = {other_than, *TEST_PICTURES_ONLY}
    return tuple(name for name in BACKENDS if name not in left_out and _declares(name, request))


def _declares(name: str, request: GenerationRequest) -> bool:
    try:
        entry = BACKENDS.entry(name)
        if entry.package != "sdenv" or not is_installed(entry.extra):
            return False
        backend_type = BACKENDS.load(name)
        if "url" in backend_type.Settings.model_fields:
            return False  # it can what its server can, and that nobody knows before it is asked
        return not mismatches(request, backend_type.declared)
    except (
        SdenvError
    ):  # its extra is missing, or its name is taken twice: an error text is no place to say so
        return False
