"""The engine behind OpenAI's HTTP API. A request's way, in the order of the files:

``host``       a socket, uvicorn on it, and an end that leaves nothing behind
``app``        which path does what, who may use it, and how a mistake is answered
``limits``     what one client may cost the others
``fields``     a client's JSON, read field by field
``ask``        what a client asks for
``chat``       from the messages of a chat to a prompt
``jobs``       what the engine is given: tokens, lengths that fit
``bridge``     between the engine's thread and the event loop
``exchange``   one request, from the engine's first token to the last byte sent
``writing``    one answer as its client sees it: text, stop strings
``shapes``     the JSON of the answers
``measures``   what Prometheus reads
``standing``   what an engine says of itself
``errors``     what a client is told when something is wrong
"""
