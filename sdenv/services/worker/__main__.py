"""The child process: started by `SupervisedBackend`, of no use to anybody else."""

import sys

from sdenv.services.worker.worker import main

if __name__ == "__main__":
    main(sys.argv[1:])
