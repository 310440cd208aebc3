  (table $many 1 funcref)
  (func $decide (result i32)
    (loop $again (br_if $again (i32.ne (i32.const -1) (table.grow $many (ref.null func) (i32.const 1000)))))
    (unreachable))
