import sys; sys.argv=["x","Trilho"]
import bench.proof as p
from tests.lab import database
old=p.count
def count(stand,moments):
    with database.connect(stand.database_url) as c:
        print("moments",[m.strftime("%M:%S.%f")[:7] for m in moments])
        for r in c.execute("""select args, created_at::time(1), started_at::time(1), finished_at::time(1), attempt, crash_count, sends, sent_at::time(1), worker_name,
           (select string_agg(number||':'||outcome||':'||coalesce(left(error,60),'')||' '||started_at::time(1)||'-'||finished_at::time(1), ' | ' order by number) from trilho.job_attempts a where a.job_id=j.id)
           from trilho.jobs j where finished_at-created_at > interval '6 s' order by finished_at-created_at desc limit 40"""): print([str(x) for x in r])
        for r in c.execute("select name, pid, state, started_at::time(1), seen_at::time(1), processed, dropped from trilho.processes order by started_at"): print([str(x) for x in r])
    for w in stand.workers:
        import re
        print(w.log); open("/tmp/log-"+w.options.name,"w").write(w.log.read_text())
    return old(stand,moments)
p.count=count
p.main()
