"""The path of a request, as one ASGI application: read, classify, decide, forward, record."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from classifiers.explicit import TASK_HEADER, explicit_label
from classifiers.label import Classifier, Label
from classifiers.prompt import read_prompt
from policies.request import Request
from router.access.guard import WHO
from router.admin.api import AdminApi
from router.admin.routes import PREFIX
from router.api import head
from router.api.body import ON_THE_LOOP_BYTES
from router.api.body_room import BodyRoom, BodyShare
from router.api.capping import capped
from router.api.deadline import deadline
from router.api.density import check_density
from router.api.http import (
    ClientGone,
    Connected,
    Receive,
    Scope,
    Send,
    header_map,
    read_body,
    respond,
    respond_error,
)
from router.api.patience import PatientSend
from router.api.request import ROUTES, Generation, Route, parse_generation
from router.config.settings import Limits
from router.distilling import PromptKeeper
from router.errors import BadRequest, MethodNotAllowed, NotFound, RequestError, Unexpected
from router.feedback import FeedbackKeeper
from router.observe.logs import FIELDS
from router.observe.tracing import Tracing
from router.status import Status
from router.steering.pilot import Pilot
from router.traffic.affinity import affinity
from router.traffic.catalogue import Catalogue
from router.traffic.dispatch import Dispatch
from router.traffic.fleet import Fleet
from router.traffic.forward import pass_on, pass_whole
from router.traffic.record import CLIENT_GONE, Recorder, Visit
from router.traffic.relay import PLAIN_ROUTES, Plain, PlainRoute, Relay, parse_plain
from router.traffic.upstream import Upstream

logger = logging.getLogger("alpharoute.ingress")

CHARS_PER_TOKEN = 4
"""Characters of a token in English text, roughly: prompt lengths are estimates, only their order matters."""

T = TypeVar("T")

API_ROUTES: Mapping[str, Route | PlainRoute] = {**ROUTES, **PLAIN_ROUTES}
"""Every route that reaches an engine, by path."""


@dataclass(slots=True)
class Ingress:
    """Answers HTTP; everything it needs is given to it, so that it runs in Ray Serve as in a test."""

    limits: Limits
    catalogue: Catalogue
    classifier: Classifier
    feedback: FeedbackKeeper
    pilot: Pilot
    fleet: Fleet
    upstream: Upstream
    dispatch: Dispatch
    relay: Relay
    recorder: Recorder
    status: Status
    admin: AdminApi
    bodies: BodyRoom
    distilling: PromptKeeper = field(default_factory=PromptKeeper)
    tracing: Tracing | None = None
    logged: bool = False
    running: int = 0
    quiet: asyncio.Event = field(default_factory=asyncio.Event)

    async def drain(self, limit_s: float) -> bool:
        """Say that it is not ready, and let running requests finish; False where some still run after `limit_s`."""
        self.status.draining = True
        if self.running:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await self.quiet.wait()
        return not self.running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        path = scope["path"]
        known = path in API_ROUTES or path in self.status.pages
        headers = header_map(scope)
        headers[head.REQUEST_ID] = request_id = head.request_id(headers)
        named, key = path if known else "other", scope.get(WHO)
        visit = Visit(named, self.recorder.telemetry, request_id, logged=self.logged, key=key)
        if self.tracing is not None and path in API_ROUTES:
            visit.span = self.tracing.begin(path, headers)
        self.running += 1
        try:
            await self._answer(path, scope, headers, receive, send, visit)
        except RequestError as error:
            await _refuse(send, error, visit)
        except ClientGone:
            visit.status = CLIENT_GONE
        except asyncio.CancelledError:
            visit.status = CLIENT_GONE
            raise
        except Exception:
            visit.status = 500
            logger.exception("a request to %s failed", visit.route, extra={FIELDS: {"request_id": visit.request_id}})
            if visit.answering:
                raise
            await _refuse(send, Unexpected("The router failed; its log says why.", code="internal_error"), visit)
        finally:
            self.running -= 1
            if self.status.draining and not self.running:
                self.quiet.set()
            visit.close()

    async def _answer(
        self, path: str, scope: Scope, headers: dict[str, str], receive: Receive, send: Send, visit: Visit
    ) -> None:
        if route := ROUTES.get(path):
            _allow(scope, "POST")
            with self.bodies.share() as share:
                await self._generate(route, headers, receive, share, send, visit)
        elif plain := PLAIN_ROUTES.get(path):
            _allow(scope, "POST")
            with self.bodies.share() as share:
                await self._pass(plain, headers, receive, share, send, visit)
        elif show := self.status.page(path):
            _allow(scope, "GET", "HEAD")
            page = await show()
            visit.answers(page.status)
            await respond(send, page.status, page.body, page.content_type, visit.headers())
        elif path.startswith(f"{PREFIX}/"):
            await self._administer(scope, headers, receive, send, visit)
        else:
            known = ", ".join(sorted([*API_ROUTES, *self.status.pages]))
            raise NotFound(f"There is no {path[:128]!r} here; there are {known}.", code="unknown_route")

    async def _generate(
        self, route: Route, headers: dict[str, str], receive: Receive, share: BodyShare, send: Send, visit: Visit
    ) -> None:
        until = deadline(headers, self.limits.request_s, asyncio.get_running_loop().time())
        asked = await self._asked(route, headers, receive, share, visit)
        with visit.stage("classify"):
            request = visit.request = self._request(asked, headers, self._label(asked, headers))
            if asked.route.measured:  # the two APIs in which a target is asked for its answers
                self.distilling.offer(asked.raw, headers, request)
            rules = self.dispatch.asked(request, self.pilot.deciding(request, visit.request_id).knowledge)
            if rules.caps:
                asked, visit.capped = capped(asked, rules.temperature_max, rules.top_p_max)
                request = visit.request = replace(request, temperature=asked.temperature)
            asked = asked.understood()
            share.shrink(len(asked.raw))
        async with Connected(receive) as client:
            leg = await self.dispatch.first_bytes(request, asked, headers, until, visit)
            try:
                asked = asked.begun()
                share.shrink(0)
                visit.answers(leg.answer.status)
                patience = PatientSend(send, client, until.at_s, self.limits.silence_s)
                with visit.waiting("pass_on"), patience as patient:
                    await pass_on(leg, asked, patient, visit.headers())
                if leg.broke is not None:
                    visit.broke_off(leg.broke)
            finally:
                leg.close()
                self.recorder.answered(request, leg, visit.request_id)

    async def _asked(
        self, route: Route, headers: dict[str, str], receive: Receive, share: BodyShare, visit: Visit
    ) -> Generation:
        limits = self.limits
        with visit.waiting("read"):
            raw = await self._body(headers, receive, share)
        with visit.stage("parse"):
            parse = partial(parse_generation, route, raw, xargs=limits.xargs, extra_fields=limits.extra_fields)
            asked = await _off_the_loop(parse, raw)
            asked = await _off_the_loop(partial(asked.under, self.catalogue.served(asked.model)), raw)
        sampling = self.catalogue.sampling(asked.model)
        return asked.sampled_as(sampling.temperature, sampling.top_p)

    async def _pass(
        self, route: PlainRoute, headers: dict[str, str], receive: Receive, share: BodyShare, send: Send, visit: Visit
    ) -> None:
        until = deadline(headers, self.limits.request_s, asyncio.get_running_loop().time())
        asked = await self._plainly_asked(route, headers, receive, share, visit)
        share.shrink(len(asked.raw))
        async with Connected(receive):
            answer = await self.relay.ask(asked, headers, until)
            del asked
            share.shrink(0)
            visit.answers(answer.status)
            await pass_whole(answer, route.dialect, send, visit.headers())

    async def _plainly_asked(
        self, route: PlainRoute, headers: dict[str, str], receive: Receive, share: BodyShare, visit: Visit
    ) -> Plain:
        raw = await self._body(headers, receive, share)
        with visit.stage("parse"):
            parse = partial(parse_plain, route, raw, extra_fields=self.limits.extra_fields)
            asked = await _off_the_loop(parse, raw)
            asked = await _off_the_loop(partial(asked.under, self.catalogue.served(asked.model)), raw)
        return replace(asked, body={})

    async def _body(self, headers: dict[str, str], receive: Receive, share: BodyShare) -> bytes:
        limits = self.limits
        raw = await read_body(headers, receive, limit_bytes=limits.body_bytes, limit_s=limits.body_s, share=share)
        share.decoded(check_density(raw, limits.body_fields, limits.body_items))
        return raw

    async def _administer(
        self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send, visit: Visit
    ) -> None:
        found = self.admin.find(scope)
        visit.route = found.path
        answer = await self.admin.answer(found, scope, headers, receive)
        visit.answers(answer.status)
        await respond(send, answer.status, answer.body, answer.content_type, [*answer.headers, *visit.headers()])

    def _label(self, asked: Generation, headers: dict[str, str]) -> Label:
        named = explicit_label(headers, asked.body)
        if named is not None:
            tasks = {*self.classifier.tasks, *self.pilot.knowledge.document.tasks}
            if named.task in tasks:
                self.feedback.offer(asked.body, headers, named)
                return named
            if named.source == "header":
                message = f"{TASK_HEADER} must be one of {', '.join(sorted(tasks))}, got {named.task!r}."
                raise BadRequest(message, param=TASK_HEADER, code="unknown_task")
        # An unknown metadata.task is the client's own bookkeeping, not a wrong label.
        return self.classifier.classify(read_prompt(asked.body))

    def _request(self, asked: Generation, headers: dict[str, str], label: Label) -> Request:
        return Request(
            model=asked.model,
            task=label.task,
            confidence=label.confidence,
            likely=label.likely,
            segment=head.segment(headers, self.limits.segments),
            temperature=asked.temperature,
            prompt_tokens=asked.prompt_chars // CHARS_PER_TOKEN,
            max_tokens=asked.max_tokens,
            n=asked.choices,
            tools=asked.tools,
            grammar=asked.grammar,
            speculation=head.speculation(headers),
            affinity=affinity(headers, asked.body),
            headers=tuple((name, headers[name][:64]) for name in self.pilot.header_names if name in headers),
            measured=asked.route.measured,
        )


async def _off_the_loop(work: Callable[[], T], raw: bytes) -> T:
    """Read a body: a large one in a thread, for others' streams stand still meanwhile."""
    return work() if len(raw) <= ON_THE_LOOP_BYTES else await asyncio.to_thread(work)


async def _refuse(send: Send, error: RequestError, visit: Visit) -> None:
    visit.refused(error)
    route = API_ROUTES.get(visit.route)
    await respond_error(send, error, visit.headers(), route.dialect.refusal(error) if route else None)


def _allow(scope: Scope, *methods: str) -> None:
    if scope["method"] not in methods:
        message = f"{scope['path']} takes {' or '.join(methods)}, not {scope['method'][:16]}."
        raise MethodNotAllowed(message, code="method_not_allowed", headers={"allow": ", ".join(methods)})
