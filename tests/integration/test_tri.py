import pytest
def test_badlayer_collect(audited):
    r = audited("def test_a(injx, injx_layer):\n    injx.assert_no_collisions(injx_layer)\n", "--injx-layers=9")
    print("RET", r.ret)
def test_badlayer_arg(audited):
    r = audited("def test_a(injx):\n    injx.assert_no_collisions(9)\n")
    print("RET", r.ret)
def test_setup_fail(audited):
    r = audited("import pytest\n@pytest.fixture\ndef gate(injx):\n    injx.assert_no_collisions('all', eps=1e9)\ndef test_a(gate):\n    pass\n")
    print("RET", r.ret)
def test_planted(audited):
    r = audited("def test_a(injx):\n    injx.assert_no_collisions('0,all')\n", model="planted", prompts=["axb","ayb","cxd","cyd","zzz"])
    print("RET", r.ret)
def test_ini(audited,pytester):
    pytester.makeini("[pytest]\ninjx_require = maybe\n")
    r = audited("def test_a(injx):\n    injx.assert_no_collisions('0,all')\n", model="planted", prompts=["axb","ayb","cxd","cyd","zzz"])
    print("RET", r.ret)
    pytester.makeini("")
    pytester.makepyprojecttoml("[tool.pytest]\ninjx_max_prompts = 4\n")
    (pytester.path/"tox.ini").unlink()
    r = audited("def test_a(injx):\n    injx.assert_no_collisions('0,all')\n", model="planted", prompts=["axb","ayb","cxd","cyd","zzz"])
    print("RET", r.ret)
    r = audited("def test_a(injx):\n    injx.assert_no_collisions('0,all')\n", "--injx-seed=", "-c", "/dev/null")
    print("RET", r.ret)
def test_conf(audited):
    r = audited("def test_a(injx):\n    injx.assert_margin_above('all', 0.1, confidence=.95)\n", "--injx-prompts=builtin:random", "--injx-max-prompts=400", "--injx-length=10", "--durations=3")
    print("RET", r.ret)
def test_sipit(audited):
    r = audited("def test_a(injx):\n    injx.assert_sipit_recovers('all', prompts=2,tokens=4)\ndef test_b(injx):\n    injx.assert_sipit_recovers('all', prompts=2,tokens=4)\n", model="planted", prompts=["axba","aybb","cxdc","cydd","zzzz"])
    print("RET", r.ret)
@pytest.mark.parametrize("content,args",[(None,()),("",()),('{"text":"a"}\n',()),('{"text":"a"}\n{"text":"a"}\n',()),('{"text":"a"}\n{"foo":"a"}\n',()),("\n{bad",()),('{"text":"'+"a"*100+'"}\n{"text":"b"}\n',()),('{"ids":[1,2]}\n{"ids":[1,900]}\n',()),('{"text":"heliotrope","n":1}\n'*3,("--injx-prompt-field=body",))])
def test_bad(audited, pytester, content,args):
    p=pytester.path/"bad.jsonl"
    if content is not None: p.write_text(content)
    r = audited("def test_a(injx):\n    injx.assert_no_collisions('all')\n", f"--injx-prompts={p}", *args)
    print("RET", r.ret)
def test_badutf(audited, pytester):
    p=pytester.path/"bad.txt"
    p.write_bytes(b"abc\n\xff\xfe\n")
    r = audited("def test_a(injx):\n    injx.assert_no_collisions('all')\n", f"--injx-prompts={p}")
    print("RET", r.ret)
