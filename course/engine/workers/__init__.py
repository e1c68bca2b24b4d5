"""Worker processes: each has a device, a model and a cache, and does what it is told in plain numbers.

``messages``    what crosses the pipe between an engine and a worker
``nursery``     a process that has the model loaded and forks workers, so that one is there in milliseconds
``starter``     the engine's end of the nursery
``process``     the inside of a worker: three threads, one of which computes
``handle``      the engine's end of one worker
``arguments``   what a user says of workers, checked
``crew``        all workers of one engine: who is there, who takes whose place
``statistics``  what is counted of them
``interrupts``  an interrupted engine forgets no message
"""
