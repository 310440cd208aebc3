# Opens a shell in a terminal of its own and types: a size, a new size, Ctrl-C, the end.
import os, pty, sys, fcntl, termios, struct, time, select, signal
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
def size(rows, cols):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', rows, cols, 0, 0))
seen = b''
def until(word, limit=30):
    global seen
    end = time.time() + limit
    while word not in seen:
        if time.time() > end: sys.exit('no %r in %r' % (word, seen))
        if select.select([fd], [], [], 0.1)[0]:
            try: seen += os.read(fd, 4096)
            except OSError: break
    if word not in seen: sys.exit('no %r in %r' % (word, seen))
    seen = seen.split(word, 1)[1]
size(40, 100)
os.write(fd, b'PS1=; stty size; tty\n'); until(b'40 100'); until(b'/dev/pts/')
size(50, 120); time.sleep(0.5)
os.write(fd, b'stty size\n'); until(b'50 120')
os.write(fd, b'sleep 100; echo in"terr"upted $?\n'); time.sleep(0.5)
os.write(fd, b'\x03'); time.sleep(0.3); os.write(fd, b'echo st"ill" here\n'); until(b'still here')
os.write(fd, b'exit 9\n')
try:
    while os.read(fd, 4096): pass
except OSError: pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
