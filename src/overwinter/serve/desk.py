"""All responses of a server: new ones, those under way, and those that a server before it left unfinished."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool

from overwinter.engine.request import Event, Request, TokenLogprob
from overwinter.errors import LeaseLost, OverwinterError, UsageError
from overwinter.journal import Lease
from overwinter.journal.lease import DEFAULT_TTL_S
from overwinter.serve.answer import Answer, read_again
from overwinter.serve.asking import requests_of
from overwinter.serve.backend import Backend, new_id
from overwinter.serve.conversation import Conversation, item_messages, message_of, response_tools
from overwinter.serve.errors import Refusal, log
from overwinter.serve.intake import Place, Ticket
from overwinter.serve.keys import Tenant
from overwinter.serve.live import LiveResponse
from overwinter.serve.response_form import Form, Items, answered, listed_of, response_form
from overwinter.serve.schemas.responses import ResponseBody
from overwinter.serve.stored import LOST, PREFIX, ResponseStore, Turn
from overwinter.serve.threads import to_the_end

NOT_SETTINGS = {"input", "stream", "stream_options", "previous_response_id"}


class ResponseDesk:
    """Makes, finds and takes up responses."""

    def __init__(self, backend: Backend, store: ResponseStore) -> None:
        self.store = store
        self.live: dict[str, LiveResponse] = {}
        self._backend = backend
        self._tasks: set[asyncio.Task[None]] = set()
        self._taking: dict[str, asyncio.Task[None]] = {}
        """Responses of a server before this one that are about to be asked again."""

    async def start(self) -> None:
        """Take up what a server before this one left, and keep leases from now on."""
        left = await run_in_threadpool(self.store.unfinished)
        for info in left:
            task = self._taking[info.run] = self._spawn(self._take_up(info.run))
            task.add_done_callback(partial(self._taken, info.run))
        self._spawn(self._keep_leases())

    async def stop(self) -> None:
        """Stop what is under way. Background responses stay unfinished in the journal."""
        for task in tuple(self._tasks):
            task.cancel()
        under_way = tuple(self.live.values())
        for live in under_way:
            live.stop()
        for live in under_way:
            await live.until_over()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def make(self, tenant: Tenant, body: ResponseBody, place: Place) -> LiveResponse:
        """Write a new response down and begin it.

        Raises:
            Refusal, UsageError: it cannot be served as it was asked for.
        """
        turn = Turn(
            id=new_id(PREFIX),
            created_us=int(time.time() * 1e6),
            tenant=tenant.name,
            settings=_settings(body),
            items=items_of(body),
            previous=body.previous_response_id,
        )
        before = await run_in_threadpool(self._before, tenant, body)
        chat, request = await run_in_threadpool(self._prepare, tenant, turn, before, body)
        lease = await run_in_threadpool(self._begin, turn, request) if body.is_stored else None
        live = LiveResponse(self._backend.served, self.store, turn, body, chat, request, lease)
        try:
            self._run(live, place.admit([request]))
        except BaseException as error:
            if lease is not None:
                await run_in_threadpool(self.store.give_up, turn, lease, "failed", f"not admitted: {error}")
            raise
        return live

    async def find(self, tenant: Tenant, id_: str) -> Form:
        """A stored response as it stands. Raises UsageError if this tenant has none by that id."""
        live = self.live.get(id_)
        if live is not None and live.turn.tenant == tenant.name and live.lease is not None:
            return live.form
        return await run_in_threadpool(self._form_of, tenant, id_)

    async def cancel(self, tenant: Tenant, id_: str) -> Form:
        """Cancel a background response; one that has ended stays as it is.

        Raises:
            Refusal: it is not a background response.
            LeaseLost: another server works on it.
        """
        form = await self.find(tenant, id_)
        if not form["background"]:
            raise Refusal(400, "only background responses can be cancelled; close the connection of any other")
        taking = self._taking.get(id_)
        if taking is not None:
            taking.cancel()
            await asyncio.wait({taking})
        live = self.live.get(id_)
        if live is not None:
            live.cancel()
            await live.until_over()
        elif (await self.find(tenant, id_))["status"] in ("queued", "in_progress"):
            turn, _, lease = await run_in_threadpool(self.store.take_up, id_)
            await run_in_threadpool(self.store.give_up, turn, lease, "cancelled", "cancelled by the client")
        return await self.find(tenant, id_)

    # --- making ---------------------------------------------------------------------------------------------------

    def _before(self, tenant: Tenant, body: ResponseBody) -> list[Turn]:
        """The turns that this one goes on from."""
        if body.previous_response_id is None:
            return []
        try:
            turns = self.store.line(body.previous_response_id, tenant.name)
        except UsageError as error:
            raise Refusal(
                404, error.problem, param="previous_response_id", code="previous_response_not_found"
            ) from error
        if turns[-1].completion is None:
            raise Refusal(
                400,
                f"response {body.previous_response_id!r} has no answer to go on from",
                param="previous_response_id",
            )
        return turns

    def _prepare(
        self, tenant: Tenant, turn: Turn, before: list[Turn], body: ResponseBody
    ) -> tuple[Conversation, Request]:
        messages: list[dict[str, Any]] = []
        if body.instructions:
            messages.append({"role": "system", "content": body.instructions})
        for each in before:
            messages += item_messages(each.items, messages)
            messages.append(message_of(self._answer_of(each)))
        messages += item_messages(turn.items, messages)
        served = self._backend.served
        chat = Conversation.of_response(body, messages)
        listed = listed_of(body)
        wish = chat.wish(served, body, max_tokens=body.max_output_tokens, n=1, logprobs=listed or 0)
        seeded = body.model_copy(update={"seed": turn.settings["seed"]})
        prompt = chat.prompt(served)
        return chat, requests_of(served, self._backend.config, tenant, seeded, [prompt], wish)[0]

    def _begin(self, turn: Turn, request: Request) -> Lease:
        lease = self.store.begin(turn)
        self._intend(turn, lease, request)
        return lease

    def _intend(self, turn: Turn, lease: Lease, request: Request) -> None:
        limits = {
            "max_tokens": request.max_tokens,
            "temperature": request.sampling.temperature,
            "seed": request.sampling.seed,
        }
        self.store.intend(turn, lease, request.prompt_ids, limits)

    def _run(self, live: LiveResponse, ticket: Ticket) -> None:
        self.live[live.turn.id] = live
        live.start(ticket)
        self._spawn(self._forget(live))

    async def _forget(self, live: LiveResponse) -> None:
        await live.until_over()
        self.live.pop(live.turn.id, None)

    # --- after a restart ------------------------------------------------------------------------------------------

    async def _take_up(self, id_: str) -> None:
        """Ask again for a background response that was left unfinished; end any other, whose client is gone."""
        taking = asyncio.ensure_future(run_in_threadpool(self.store.take_up, id_))
        try:
            turn, before, lease = await asyncio.shield(taking)
        except asyncio.CancelledError:
            await asyncio.wait({taking})
            if taking.exception() is None:
                await to_the_end(self.store.leave, taking.result()[2])
            raise
        except LeaseLost:
            return  # a living server works on it
        except OverwinterError as error:
            log.error("response %s cannot be taken up: %s", id_, error.problem)
            return
        await self._go_on(turn, before, lease)

    async def _go_on(self, turn: Turn, before: list[Turn], lease: Lease) -> None:
        try:
            if not turn.is_background:
                await to_the_end(self.store.give_up, turn, lease, "failed", LOST)
            elif turn.settings["model"] != self._backend.served.name:
                await to_the_end(self.store.leave, lease)  # for a server of that model
            else:
                await self._ask_again(turn, before, lease)
        except (OverwinterError, Refusal, ValueError) as error:
            problem = error.problem if isinstance(error, OverwinterError) else str(error)
            log.error("response %s cannot be made: %s", turn.id, problem)
            await to_the_end(self.store.give_up, turn, lease, "failed", problem)
        except asyncio.CancelledError:
            if not turn.ended:
                await to_the_end(self.store.leave, lease)
            raise

    async def _ask_again(self, turn: Turn, before: list[Turn], lease: Lease) -> None:
        body = ResponseBody.model_validate(
            {**turn.settings, "input": turn.items, "previous_response_id": turn.previous}
        )
        tenant = self._backend.keys.named(turn.tenant)
        chat, request = await run_in_threadpool(self._prepare, tenant, turn, before, body)
        await to_the_end(self._intend, turn, lease, request)
        await self._backend.intake.until_room()
        live = LiveResponse(self._backend.served, self.store, turn, body, chat, request, lease)
        self._run(live, self._backend.intake.admit([request]))

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(DEFAULT_TTL_S / 3)
            for live in tuple(self.live.values()):
                if live.lease is None or live.is_over:
                    continue
                try:
                    live.lease = await to_the_end(self.store.keep, live.lease)
                except LeaseLost:
                    live.stop()
                except OverwinterError as error:
                    log.error("the lease of response %s could not be renewed: %s", live.turn.id, error.problem)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _taken(self, id_: str, task: asyncio.Task[None]) -> None:
        self._taking.pop(id_, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("response %s could not be taken up", id_, exc_info=task.exception())

    # --- reading back ---------------------------------------------------------------------------------------------

    def _answer_of(self, turn: Turn) -> Answer:
        said = self.store.said(turn)
        return read_again(said.text, _names(turn.settings), said.call_ids)

    def _form_of(self, tenant: Tenant, id_: str) -> Form:
        turn = self.store.line(id_, tenant.name)[-1]
        body = ResponseBody.model_validate({**turn.settings, "input": turn.items})
        form = response_form(turn, body, turn.settings["model"])
        if turn.completion is not None:
            return self._answered(form, turn, body)
        if turn.ended == "cancelled":
            return {**form, "status": "cancelled"}
        if turn.ended:
            return {**form, "status": "failed", "error": {"code": "server_error", "message": turn.problem}}
        return {**form, "status": "in_progress" if self.store.is_held(id_) else "queued"}

    def _answered(self, form: Form, turn: Turn, body: ResponseBody) -> Form:
        said = self.store.said(turn)
        tops = said.top or [[] for _ in said.token_ids]
        rows = tuple(
            TokenLogprob(token, logprob, tuple(top))
            for token, logprob, top in zip(said.token_ids, said.logprobs, tops, strict=True)
        )
        answer = Answer(_names(turn.settings), body.parallel_tool_calls is False, call_ids=said.call_ids)
        items = Items(turn.id.removeprefix(PREFIX)[:24], answer, self._backend.served.text, listed_of(body))
        whole = Event(sequence=0, text=said.text, logprobs=rows, finish="length" if said.finish == "length" else "stop")
        for _ in items.read(whole):
            pass
        shown = (said.prompt_ids, said.token_ids) if body.return_token_ids else None
        return {**answered(form, items, said.usage, shown), "completed_at": turn.ended_us / 1e6}


def items_of(body: ResponseBody) -> list[dict[str, Any]]:
    """The input's items, a text as a user's message."""
    if isinstance(body.input, str):
        return [{"type": "message", "role": "user", "content": body.input}]
    return [item.model_dump(exclude_none=True) for item in body.input]


def _settings(body: ResponseBody) -> dict[str, Any]:
    """What has to be known to ask again. The seed is drawn now, so that asking again gives the same tokens."""
    settings = body.model_dump(by_alias=True, exclude_none=True, exclude=NOT_SETTINGS)
    settings.setdefault("seed", secrets.randbits(62))
    return settings


def _names(settings: dict[str, Any]) -> list[str]:
    return [tool["function"]["name"] for tool in response_tools(settings)]
