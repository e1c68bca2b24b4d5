"""Keys and values move between workers.

``carrier``        KVTransfer: the interface of all carriers, as a worker sees it
``shared_memory``  between processes on one machine
``cuda_ipc``       between processes on GPUs of one machine
``process_group``  through torch.distributed: gloo and NCCL
``choice``         which carrier goes with which devices
``traffic``        the engine's end: which piece moves when, and what is told to the control plane
``link``           a slower link than the real one
``record``         what is kept of every move
"""
