"""A load client for any server that speaks OpenAI's API: ours, vLLM, SGLang, Dynamo.

``load``     the open loop: requests go out when they must, whatever has become of those before
``answer``   what comes back for one request: chunks, usage, or what went wrong
``call``     one HTTP request on a connection of its own
``events``   server-sent events out of pieces of bytes
``prompts``  prompts of a given length, as token ids or as words
``probe``    what a server says of itself before the load
"""
