"""CUDA C on the CPU: unmodified ``.cu`` files are compiled by g++ and run thread by thread, for tests only."""
