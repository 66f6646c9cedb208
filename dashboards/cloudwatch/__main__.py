from dashboards.cloudwatch.commands import main

raise SystemExit(main())
