package controlplane

// Budgets follow calendars in time zones by name, and the smallest images know none.
import _ "time/tzdata"
