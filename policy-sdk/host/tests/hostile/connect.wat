  (func (export "openshell:policy/connect@0.1.0#decide")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (param $name i32) (param i32 i32 i32) (result i32)
    (global.set $host (local.get $name))
    (call $decide))
