module swiftop.dev/pause

go 1.24
