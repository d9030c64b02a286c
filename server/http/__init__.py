"""What a node tells over HTTP: pages, health, metrics and an API for operators, on a port of its own.

    socket ─► connections (limits, turns, HTTP/1.1) ─► guard (who may ask what) ─► app (starlette) ─► handlers
                                                                                      │ pages     files of web/
                                                                                      │ health    /healthz, /readyz
                                                                                      │ metrics   /metrics
                                                                                      └ api_*     /api/v1/…

`routes` holds the table that both the app and the OpenAPI description (`openapi`) are made of; each handler enters
itself with what it takes and answers. `site` is all that handlers see of the node; what only another node knows they
ask it for (`peers`). All of it runs on the node's own loop, between ticks, one request at a time (`turns`).
"""
