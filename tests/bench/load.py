#!/usr/bin/env python3
"""load.py - runs a load against any mail server and prints one JSON line.
  load.py load  [--pid P ...] MODE key=value ...      mload (deliver|cycle|pingpong) plus server CPU, disk flushes
  load.py queue --pid P ... --drained CMD ...          as load, then waits until CMD exits 0: end-to-end rate through a queueing MTA
  load.py big   --port P --user big@d [--n 100000] [--fill] [--restart CMD]      large mailbox
  load.py idle  --port P --lport L --n 2000 [--same] [--notify 5] --pid P        idle connections
  load.py cold  --start CMD --port P --getpid CMD      start time to first banner, empty memory
"""
import argparse, json, os, re, socket, subprocess, sys, time, tempfile, statistics as st
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import procfs as c
TMP = os.environ.get('BENCH_TMP') or os.path.join(tempfile.gettempdir(), 'bench')
HERE = os.path.dirname(os.path.abspath(__file__))

def mload_bin():
    b = os.path.join(TMP, 'mload'); s = os.path.join(HERE, 'mload.c')
    if not os.path.exists(b) or os.path.getmtime(b) < os.path.getmtime(s):
        os.makedirs(TMP, exist_ok=True)
        subprocess.run(['cc', '-O2', '-pthread', '-o', b, s], check=True)
    return b
def probe(n=25):
    """median microseconds of a 4700-byte append + fdatasync right now: the state of the (shared) disk before the run"""
    f = os.path.join(TMP, f'probe.{os.getpid()}'); fd = os.open(f, os.O_CREAT | os.O_WRONLY, 0o600); v = []; b = b'x' * 4700
    for _ in range(n): t = time.perf_counter(); os.write(fd, b); os.fdatasync(fd); v.append(time.perf_counter() - t)
    os.close(fd); os.unlink(f); return round(st.median(v) * 1e6)
def snap(pids): return c.cpu(pids) if pids else 0, c.disk(TMP), c.busy(), time.time()
def delta(r, a, b, pids, per=None):
    w = b[3] - a[3]
    if pids: r['srv_cpu_s'] = round(b[0] - a[0], 2); r['srv_cpu_frac'] = round((b[0] - a[0]) / w, 2)
    if pids and per: r['srv_cpu_us_per_op'] = round((b[0] - a[0]) / per * 1e6, 1)
    for k in ('flush', 'writes', 'wbytes'):
        d = b[1][k] - a[1][k]; r['dev_' + k] = d
        if per and k != 'writes': r[f'dev_{k}_per_op'] = round(d / per, 3)
    t = b[2][2] - a[2][2]
    r['machine_busy'] = round((b[2][0] - a[2][0]) / t, 2) if t else 0; r['steal'] = round((b[2][1] - a[2][1]) / t, 3) if t else 0
def out(r, o):
    if getattr(o, 'label', ''): r['label'] = o.label
    r['at'] = time.strftime('%H:%M:%S'); r['load1'] = os.getloadavg()[0]
    s = json.dumps(r); print(s, flush=True)
    if o.save:
        os.makedirs(os.path.dirname(o.save) or '.', exist_ok=True)
        with open(o.save, 'a') as f: f.write(s + '\n')

def do_load(o):
    pr = probe(); a = snap(o.pid)
    p = subprocess.run([mload_bin()] + o.args + ([f'label={o.label}'] if o.label else []), capture_output=True, text=True)
    b = snap(o.pid)
    if p.returncode: print(p.stderr, file=sys.stderr); return 1
    r = json.loads(p.stdout.strip().splitlines()[-1])
    # the snapshots include the warm-up; scale the per-op figures by time
    kv = dict(x.split('=', 1) for x in o.args if '=' in x)
    per = r['ok'] * ((b[3] - a[3]) / r['secs']) if r['ok'] and 'msgs' not in kv else r['ok']
    r['probe_us'] = pr; delta(r, a, b, o.pid, per); out(r, o)
def do_queue(o):
    pr = probe(); a = snap(o.pid); t0 = time.time()
    p = subprocess.run([mload_bin()] + o.args, capture_output=True, text=True); r = json.loads(p.stdout.strip().splitlines()[-1])
    t1 = time.time()
    while subprocess.run(o.drained, shell=True).returncode: time.sleep(0.05)
    t2 = time.time(); b = snap(o.pid)
    n = r['ok']; r['accept_per_s'] = r['per_s']; r['drain_s'] = round(t2 - t1, 2); r['total_s'] = round(t2 - t0, 2); r['through_per_s'] = round(n / (t2 - t0), 1)
    r['probe_us'] = pr; delta(r, a, b, o.pid, n); out(r, o)

class Imap:
    def __init__(s, o, user):
        s.s = socket.create_connection((o.host, o.port)); s.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1); s.b = b''; s.n = 0; s.line(); s.caps = b''
        s.caps = s.cmd(f'LOGIN {user} {o.password}')[1] + s.cmd('CAPABILITY')[1]
    def line(s):
        while b'\n' not in s.b:
            x = s.s.recv(1 << 16)
            if not x: raise EOFError
            s.b += x
        l, s.b = s.b.split(b'\n', 1); return l
    def wait(s, tag, keep=True, began=None):
        """read to the tagged line; returns (seconds, last bytes or all, octets)"""
        # From before the command is sent: a server may answer before this process runs again.
        t0 = began or time.perf_counter(); parts = [s.b]; tot = len(s.b); tail = s.b; needle = b'\n' + tag + b' '
        while True:
            k = (b'\n' + tail).rfind(needle)
            if k >= 0 and tail.endswith(b'\n'): break
            x = s.s.recv(1 << 20)
            if not x: raise EOFError
            tot += len(x); parts.append(x) if keep else None; tail = (tail + x)[-8192:]
        s.b = b''; last = tail[k:].split(b'\r\n')[0]
        if not last.startswith(tag + b' OK'): raise RuntimeError(last[:200])
        return time.perf_counter() - t0, (b''.join(parts) if keep else tail), tot
    def cmd(s, text, keep=True):
        s.n += 1; tag = b'T%d' % s.n; began = time.perf_counter(); s.s.sendall(tag + b' ' + text.encode() + b'\r\n'); return s.wait(tag, keep, began)
def fill(o, n):
    """n messages over 4 connections, MULTIAPPEND when offered, else pipelined LITERAL+ (or one at a time)"""
    import random, threading
    sys.path.insert(0, HERE); import mkmbox
    # Messages are made before the clock starts: making them takes longer than a good server takes to keep them.
    errs = []; made = {}; ready = threading.Barrier(5)
    def prepare(k, cnt):
        rng = random.Random(1000 + k); made[k] = [mkmbox.message(rng, k + 4 * i, o.size) for i in range(cnt)]
    def part(k, cnt):
        try:
            im = Imap(o, o.user); prepare(k, cnt); ready.wait(); multi = b'MULTIAPPEND' in im.caps; plus = b'LITERAL+' in im.caps; done = 0; base = 1600000000
            while done < cnt:
                batch = min(200 if multi else 64 if plus else 1, cnt - done); buf = bytearray(); tags = []
                for i in range(batch):
                    no = k + 4 * (done + i); m = made[k][done + i]; d = time.strftime('%d-%b-%Y %H:%M:%S +0000', time.gmtime(base + no * 300))
                    if not multi or i == 0:
                        if multi: im.n += 1; buf += b'T%d APPEND INBOX' % im.n
                        else: im.n += 1; buf += b'T%d APPEND INBOX' % im.n; tags.append(b'T%d' % im.n)
                    lit = b'{%d+}' if plus else b'{%d}'
                    hdr = f' ({chr(92)}Seen)' if no % 3 else ' ()'
                    buf += hdr.encode() + b' "' + d.encode() + b'" ' + lit % len(m) + b'\r\n'
                    if not plus: im.s.sendall(buf); buf.clear(); im.line()
                    buf += m
                    if not multi: buf += b'\r\n'
                if multi: buf += b'\r\n'; tags = [b'T%d' % im.n]
                im.s.sendall(buf); im.wait(tags[-1]); done += batch
        except Exception as e: errs.append(repr(e)[:300]); ready.abort()
    th = [threading.Thread(target=part, args=(k, n // 4)) for k in range(4)]
    [t.start() for t in th]; ready.wait(); t0 = time.time(); [t.join() for t in th]
    return time.time() - t0, errs
def do_big(o):
    r = {'test': 'big', 'n': o.n, 'size': o.size}
    if o.fill:
        s = Imap(o, o.user)
        t, e = fill(o, o.n); r['fill_s'] = round(t, 1); r['fill_per_s'] = round(o.n / t); 
        if e: r['fill_errors'] = e
        if o.fill_only: return out(r, o)
    def rec(name, f):
        a = c.cpu(o.pid) if o.pid else 0
        try: v = f(); r[name] = round(v, 4)
        except Exception as e: r[name] = repr(e)[:160]
        if o.pid: r.setdefault('cpu', {})[name] = round(c.cpu(o.pid) - a, 2)
    if o.restart:
        subprocess.run(o.restart, shell=True, check=True, stdout=subprocess.DEVNULL)
        if o.getpid: o.pid = [int(subprocess.check_output(o.getpid, shell=True, text=True).split()[0])]
        if o.dropcache: os.sync(); open('/proc/sys/vm/drop_caches', 'w').write('3')
        def first():
            t = time.perf_counter(); i = Imap(o, o.user); i.cmd('SELECT INBOX'); return time.perf_counter() - t
        rec('first_login_select_after_restart', first)
    im = Imap(o, o.user)
    def rep(text, k=o.reps, keep=False):
        ts = [im.cmd(text, keep)[0] for _ in range(k)]; return st.median(ts)
    x = im.cmd('SELECT INBOX')[1]; r['exists'] = int(re.search(rb'\* (\d+) EXISTS', x).group(1))
    rec('select', lambda: rep('SELECT INBOX')); N = r['exists']
    rec('status', lambda: rep('STATUS INBOX (MESSAGES UNSEEN UIDNEXT)'))
    rec('fetch_flags_all', lambda: rep('FETCH 1:* (FLAGS)')); rec('uid_fetch_flags_all', lambda: rep('UID FETCH 1:* (FLAGS)'))
    rec('fetch_envelope_all_1st', lambda: im.cmd('FETCH 1:* (ENVELOPE)', False)[0]); rec('fetch_envelope_all', lambda: rep('FETCH 1:* (ENVELOPE)', 2))
    rec('fetch_hdr_200_last', lambda: rep(f'FETCH {max(1,N-199)}:{N} (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)'))
    rec('fetch_bodystructure_200', lambda: rep(f'FETCH {max(1,N-199)}:{N} (BODYSTRUCTURE)'))
    rec('fetch_body_1000', lambda: rep(f'FETCH {N//2}:{N//2+999} (BODY.PEEK[])'))
    rec('search_unseen', lambda: rep('SEARCH UNSEEN')); rec('search_since', lambda: rep('SEARCH SINCE 1-Jan-2021 BEFORE 1-Feb-2021'))
    rec('search_from_1st', lambda: im.cmd('SEARCH FROM "s7@src.test"')[0]); rec('search_from', lambda: rep('SEARCH FROM "s7@src.test"', 2))
    rec('search_subject', lambda: rep('SEARCH SUBJECT "zebra"', 2)); rec('search_header_msgid', lambda: rep('SEARCH HEADER Message-ID "00050001"', 2))
    if not o.nobody:
        rec('search_body_1st', lambda: im.cmd('SEARCH BODY "needle77"')[0]); rec('search_body', lambda: rep('SEARCH BODY "needle77"', 1)); rec('search_text', lambda: rep('SEARCH TEXT "needle77"', 1))
        try: r['search_body_hits'] = len(im.cmd('SEARCH BODY "needle77"')[1].split(b'\r\n')[0].split()) - 2
        except Exception: pass
    rec('sort_date', lambda: rep('SORT (DATE) UTF-8 ALL', 2)); rec('thread_refs', lambda: rep('THREAD REFERENCES UTF-8 ALL', 1))
    rec('store_all_add', lambda: im.cmd('STORE 1:* +FLAGS.SILENT (\\Flagged)')[0]); rec('store_all_del', lambda: im.cmd('STORE 1:* -FLAGS.SILENT (\\Flagged)')[0])
    rec('store_one', lambda: st.median([im.cmd(f'STORE {i+1} +FLAGS (\\Answered)')[0] for i in range(50)]))
    rec('append_one', lambda: st.median([append1(im) for _ in range(20)]))
    if o.copy:
        try: im.cmd('CREATE Copy1')
        except Exception: pass
        rec('copy_10000', lambda: im.cmd('COPY 1:10000 Copy1')[0])
    out(r, o)
def append1(im):
    t = time.perf_counter(); m = b'From: a@src.test\r\nSubject: one\r\n\r\nbody\r\n'; im.n += 1; tag = b'T%d' % im.n
    im.s.sendall(tag + b' APPEND INBOX {%d}\r\n' % len(m)); im.line(); im.s.sendall(m + b'\r\n'); im.wait(tag); return time.perf_counter() - t

def do_idle(o):
    r = {'test': 'idle', 'n': o.n, 'same': o.same}; m0 = c.mem(o.pid); k0 = c.kernel_mem(); a = snap(o.pid)
    p = subprocess.Popen([mload_bin(), 'idle', f'host={o.host}', f'port={o.port}', f'lport={o.lport}', f'lproto={o.lproto}', f'userfmt={o.user}', f'pass={o.password}', f'n={o.n}', f'users={o.users}', f'same={int(o.same)}', f'par={o.par}', 'size=4700'] + o.args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    r['open'] = json.loads(p.stdout.readline()); b = snap(o.pid); r['open_cpu_us_per_conn'] = round((b[0] - a[0]) / o.n * 1e6); time.sleep(o.settle)
    m1 = c.mem(o.pid); k1 = c.kernel_mem(); n = max(1, r['open']['up'])
    r['mem0'] = m0; r['mem1'] = m1; r['pss_kb_per_conn'] = round((m1['pss_kb'] - m0['pss_kb']) / n, 1); r['private_kb_per_conn'] = round((m1['private_kb'] - m0['private_kb']) / n, 1)
    r['machine_kb_per_conn'] = round((k0['MemAvailable'] - k1['MemAvailable']) / n, 1); r['kernel_kb_per_conn'] = round(sum(k1[x] - k0[x] for x in ('Slab', 'PageTables', 'KernelStack')) / n, 1)
    q = c.cpu(o.pid); time.sleep(3); r['idle_cpu_frac'] = round((c.cpu(o.pid) - q) / 3, 4); nt = []
    for i in range(o.notify):
        u = 1 if o.same else 1 + (i * 37) % min(o.users, o.n); p.stdin.write(f'notify {u}\n'); p.stdin.flush(); nt.append(json.loads(p.stdout.readline())); time.sleep(0.3)
    r['notify'] = [{k: x.get(k) for k in ('watchers', 'got', 'deliver_us', 'all_after_ack_us', 'from_send_p50', 'from_send_max', 'error')} for x in nt]
    v = [x['from_send_max'] for x in nt if x.get('from_send_max')]; r['notify_all_us_median'] = st.median(v) if v else None
    p.stdin.write('quit\n'); p.stdin.flush(); p.stdout.readline(); p.wait(); out(r, o)
def do_cold(o):
    res = []
    for _ in range(o.reps):
        subprocess.run(o.stop, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); time.sleep(0.3)
        t = time.perf_counter(); p = subprocess.Popen(o.start, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                s = socket.create_connection((o.host, o.port), 0.5); s.settimeout(5)
                if s.recv(10): break
            except OSError: time.sleep(0.002)
            if time.perf_counter() - t > 60: break
        res.append(time.perf_counter() - t); s.close()
    try: p.wait(10)
    except Exception: pass
    time.sleep(2); pid = [int(subprocess.check_output(o.getpid, shell=True, text=True).split()[0])]; m = c.mem(pid)
    out({'test': 'cold', 'to_banner_s_median': round(st.median(res), 4), 'all': [round(x, 3) for x in res], **m}, o)

A = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter); S = A.add_subparsers(dest='cmd', required=True)
def sub(name, f, **kw):
    p = S.add_parser(name); p.set_defaults(f=f); p.add_argument('--pid', type=int, nargs='+', action='extend', default=[]); p.add_argument('--label', default=''); p.add_argument('--save', default=''); p.add_argument('--host', default='127.0.0.1'); p.add_argument('--port', type=int); p.add_argument('--user', default='u%d@bench.test'); p.add_argument('--password', default='pw'); p.add_argument('--verbose', action='store_true'); return p
sub('load', do_load); p = sub('queue', do_queue); p.add_argument('--drained', required=True)
p = sub('big', do_big); p.add_argument('--n', type=int, default=100000); p.add_argument('--size', type=int, default=4700); p.add_argument('--fill', action='store_true'); p.add_argument('--fill-only', action='store_true'); p.add_argument('--restart', default=''); p.add_argument('--getpid', default=''); p.add_argument('--dropcache', action='store_true'); p.add_argument('--reps', type=int, default=3); p.add_argument('--nobody', action='store_true'); p.add_argument('--copy', action='store_true')
p = sub('idle', do_idle); [p.add_argument(x, type=int, default=d) for x, d in (('--n', 2000), ('--users', 1000), ('--lport', 24), ('--notify', 5), ('--par', 32))]; p.add_argument('--settle', type=float, default=3); p.add_argument('--lproto', default='lmtp'); p.add_argument('--same', action='store_true')
p = sub('cold', do_cold); p.add_argument('--start', required=True); p.add_argument('--stop', default='true'); p.add_argument('--getpid', required=True); p.add_argument('--reps', type=int, default=5)
if __name__ == '__main__':
    # key=value arguments are passed through to the generator
    o, rest = A.parse_known_args(); o.args = [x for x in rest if x != '--']; sys.exit(o.f(o))
