"""Chat templates: from a list of messages to the text a model was trained to see, by the Jinja program beside its tokenizer.

A template is code from wherever the model came from. It runs in Jinja's immutable sandbox, on plain JSON data only, with the
helpers that transformers gives it, so that a template written for transformers renders the same here: `raise_exception`,
`strftime_now`, `tojson` without HTML escapes, `break` and `continue`, and the `generation` block, which only marks a range
there and is transparent here.

A model without a template gets `PLAIN`: a line per message, `role: text`, and `assistant:` for the answer to go on from.
Whatever was not trained on chats may not understand it, so whoever uses it is told (`text.TextFormat`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from overwinter.errors import UsageError

if TYPE_CHECKING:
    from jinja2 import Environment, Template

Message = Mapping[str, Any]

DEFAULT, WITH_TOOLS = "default", "tool_use"
"""Names that published lists of templates use; the second is taken when tools are given."""

PLAIN = r"""
{%- if tools %}
{{- 'system: You may call tools. To call one, write\n<tool_call>{"name": NAME, "arguments": OBJECT}</tool_call>\nTools:\n' }}
{%- for tool in tools %}{{ tool.function | default(tool) | tojson }}{{ "\n" }}{%- endfor %}
{%- endif %}
{%- for message in messages %}
{{- message.role }}: {{ message.content | default("", true) }}
{%- for call in message.tool_calls | default([], true) %}
{%- set call = call.function | default(call) %}
{{- '\n<tool_call>' }}{{ {"name": call.name, "arguments": call.arguments} | tojson }}{{ "</tool_call>" }}
{%- endfor %}
{{- "\n" }}
{%- endfor %}
{%- if add_generation_prompt %}assistant:{% endif %}"""

PLAIN_STOPS = ("\nuser:", "\nsystem:", "\ntool:")
"""What a model writes when it goes on past its own turn of a `PLAIN` chat."""


class ChatTemplate:
    """The templates of one model.

    Args:
        sources: by name; `DEFAULT` must be among them.
        clock: what `strftime_now` tells; a template that uses it makes prompts depend on the day.
    """

    def __init__(self, sources: Mapping[str, str], *, clock: Callable[[], datetime] = datetime.now) -> None:
        if DEFAULT not in sources:
            raise UsageError(
                f"the chat templates are named {', '.join(sorted(sources)) or 'nothing'}",
                f"name one of them {DEFAULT!r}",
            )
        self.sources = dict(sources)
        environment = _environment(clock)
        self._templates = {name: _compiled(environment, name, source) for name, source in self.sources.items()}

    @property
    def is_plain(self) -> bool:
        return self.sources[DEFAULT] == PLAIN

    def render(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None = None, **variables: Any
    ) -> str:
        """The text of a chat.

        Args:
            messages: with `role`, and whatever the template reads of `content`, `tool_calls` and so on.
            tools: descriptions as in the OpenAI API, `{"type": "function", "function": {…}}`.
            variables: more names the template may read, such as `bos_token` and `add_generation_prompt`.

        Raises:
            UsageError: the template refuses the messages or fails on them, or they are not plain JSON data.
        """
        from jinja2 import TemplateError

        chosen = WITH_TOOLS if tools and WITH_TOOLS in self._templates else DEFAULT
        try:
            # Through JSON: a template sees no object with methods, and cannot change what the caller holds.
            data = json.loads(json.dumps({**variables, "messages": messages, "tools": tools, "documents": None}))
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"the messages are not plain JSON data: {error}", "give strings, numbers, lists"
            ) from error
        try:
            return self._templates[chosen].render(data)
        except TemplateError as error:
            raise UsageError(
                f"the chat template refuses the messages: {error.message or type(error).__name__}",
                "change roles, their order or content to what the model's template takes",
            ) from error
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
            raise UsageError(
                f"the chat template fails on the messages: {type(error).__name__}: {error}",
                "check that each message has the fields the model's template reads",
            ) from error


def _compiled(environment: Environment, name: str, source: str) -> Template:
    from jinja2 import TemplateSyntaxError

    try:
        return environment.from_string(source)
    except TemplateSyntaxError as error:
        raise UsageError(
            f"chat template {name!r} is broken at line {error.lineno}: {error.message}",
            "copy or download the model's tokenizer files again",
        ) from error


def _environment(clock: Callable[[], datetime]) -> Environment:
    from jinja2 import nodes
    from jinja2.exceptions import SecurityError, TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Generation(Extension):
        """`{% generation %}…{% endgeneration %}` is what stands inside."""

        tags = {"generation"}  # noqa: RUF012 (jinja2 declares it a set)

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    class PlainNamespace(Namespace):
        """Takes no names by which Python keeps its own affairs."""

        def __init__(*args: Any, **given: Any) -> None:
            Namespace.__init__(args[0])
            for name, value in dict(*args[1:], **given).items():
                PlainNamespace.__setitem__(args[0], name, value)

        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise SecurityError(f"a template may not set {name!r}")
            Namespace.__setitem__(self, name, value)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {
        "raise_exception": refuse,
        "strftime_now": lambda form: clock().strftime(form),
        "namespace": PlainNamespace,
    }
    return environment


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Jinja's own filter escapes for HTML, which no model was trained on."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
