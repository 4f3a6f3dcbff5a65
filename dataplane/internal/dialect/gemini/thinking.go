package gemini

import (
	"strconv"

	"fairway/dataplane/internal/dialect/neutral"
)

// efforts are the words of OpenAI's API for how much to think, and the budgets in tokens that they stand for. A budget is
// the effort that is nearest below it.
//
//nolint:gochecknoglobals // a table, and constant; Go has no constants of this type
var efforts = [...]struct {
	name   string
	budget int64
}{
	{"minimal", 512}, {"low", 1024}, {"medium", 8192}, {"high", 24576}, {"xhigh", 32768},
}

// appendThinking appends thinkingConfig, if there is anything to say.
func (a *asking) appendThinking(dst []byte, l *list) []byte {
	t := &a.r.Thinking
	show := t.Show
	if t.Summary != "" {
		yes := true
		if show == nil {
			show = &yes
		}
		a.r.Losses.AddIf(t.Summary != "auto", neutral.LossThinking)
	}
	if !a.family.thinks {
		// Asked to think it would refuse; asked not to, it does as it is told.
		a.r.Losses.AddIf(t.Effort != "" || t.Budget != "", neutral.LossThinking)
		return dst
	}
	budget, level := a.howMuch(t)
	if budget == "" && level == "" && show == nil {
		return dst
	}
	var in list
	dst = append(l.name(dst, "thinkingConfig"), '{')
	switch {
	case budget != "":
		dst = append(in.name(dst, "thinkingBudget"), budget...)
	case level != "":
		dst = in.quoted(dst, "thinkingLevel", level)
	}
	if show != nil {
		dst = strconv.AppendBool(in.name(dst, "includeThoughts"), *show)
	}
	return append(dst, '}')
}

// howMuch is the budget or the level to ask for; both empty = the model's own.
func (a *asking) howMuch(t *neutral.Thinking) (budget neutral.Number, level string) {
	least, most := a.family.budgets()
	switch {
	case t.Off && a.family.levels():
		// These models always think a little.
		a.r.Losses.Add(neutral.LossThinking)
		return "", a.level("minimal")
	case t.Off:
		a.r.Losses.AddIf(least > 0, neutral.LossThinking)
		return neutral.Number(strconv.FormatInt(least, 10)), ""
	case t.Budget != "":
		n, err := strconv.ParseInt(string(t.Budget), 10, 64)
		switch {
		case err != nil || n < 0: // -1, or a spelling that is Google's to judge
			return t.Budget, ""
		case n < least || n > most:
			a.r.Losses.Add(neutral.LossThinking)
			return neutral.Number(strconv.FormatInt(min(max(n, least), most), 10)), ""
		}
		return t.Budget, ""
	case t.Effort == "":
		return "", ""
	case a.family.levels():
		return "", a.level(t.Effort)
	}
	for _, e := range efforts {
		if e.name == t.Effort {
			a.r.Losses.AddIf(e.budget > most, neutral.LossThinking)
			return neutral.Number(strconv.FormatInt(min(e.budget, most), 10)), ""
		}
	}
	a.r.Losses.Add(neutral.LossThinking)
	return "", ""
}

// level is the nearest level, at or below the effort, that the model knows: the pro models always think, and the first of
// them knows the ends only.
func (a *asking) level(effort string) string {
	level, exact := effort, true
	switch effort {
	case "minimal":
		if a.family.pro {
			level, exact = "low", false
		}
	case "medium":
		if a.family.onlyEnds {
			level, exact = "low", false
		}
	case "low", "high":
	case "xhigh":
		level, exact = "high", false
	default:
		level, exact = "", false
	}
	a.r.Losses.AddIf(!exact, neutral.LossThinking)
	return level
}
