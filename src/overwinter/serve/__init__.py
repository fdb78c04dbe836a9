"""An OpenAI-compatible server over one engine; its responses are runs of the journal.

    overwinter serve --model path/to/model

Invariants
    What the engine chose is what the client gets: token ids, log-probabilities and text are never changed on the way.
    A setting that cannot be obeyed is refused with 400, never passed over.
    A prompt that does not fit is an error that names the lengths. Nothing is cut.
    A request is admitted whole or refused; who leaves early leaves nothing running.
    A background response is on disk before it is begun, and is answered, sooner or later, whatever happens to the process.
    Two keys share no memory, and no key, header or prompt gets into a log.

Reading order: `app` (the routes), `schemas` (what may be asked), `intake` (who is admitted; the engine's thread and the loop),
`asking` (limits and sampling), `completions`, `conversation` and `chat`, `tool_text` (calls in a text), then `stored`, `live`,
`desk` and `responses`; `sse`, `keys`, `metrics`, `errors` and `process` beside them. Guide: docs/serve.md
"""
