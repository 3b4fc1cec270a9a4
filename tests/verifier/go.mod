module tagtrail.invalid/verifier

go 1.25

// The copy in the Go source tree: scripts/test-tools puts it into vendor/.
require golang.org/x/mod v0.0.0
