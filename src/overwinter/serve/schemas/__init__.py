"""The bodies of requests, checked: pydantic here and nowhere further in.

`common` holds the fields all APIs share and what they do with fields that change nothing here; `completions`, `chat` and
`responses` one API each. What is not understood is refused, so that nobody believes in a setting that does nothing.
"""
