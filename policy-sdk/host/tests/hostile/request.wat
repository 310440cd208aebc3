  (func (export "openshell:policy/request@0.1.0#decide") (param $arguments i32) (result i32)
    (global.set $host (i32.load offset=36 (local.get $arguments)))
    (call $decide))
